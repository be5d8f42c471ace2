package grad

import (
	"math"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// normRules are the normalisations.
var normRules = []Rule{
	{Op: "BatchNormalization", Since: 9, VJP: vjpBatchNorm},
	{Op: "InstanceNormalization", Since: 6, VJP: vjpInstanceNorm},
	{Op: "GroupNormalization", Since: 18, VJP: vjpGroupNorm},
	{Op: "LayerNormalization", Since: 17, VJP: vjpLayerNorm},
	{Op: "RMSNormalization", Since: 23, VJP: vjpRMSNorm},
	{Op: "MeanVarianceNormalization", Since: 9, VJP: vjpMeanVariance},
	{Op: "LpNormalization", Since: 1, VJP: vjpLpNorm},
	{Op: "LRN", Since: 1, VJP: vjpLRN},
}

// standard is a value normalised to mean 0 and variance 1 over some axes.
type standard struct {
	axes []int64
	hat  string // (x - mean) * inv
	inv  string // 1 / sqrt(var + eps)
}

// standardise recomputes what the forward node kept to itself.
func (c *call) standardise(x string, axes []int64, eps float64) standard {
	d := c.sub(x, c.mean(x, axes, true))
	variance := c.mean(c.mul(d, d), axes, true)
	inv := c.apply("Reciprocal", c.apply("Sqrt", c.add(variance, c.num(eps))))
	return standard{axes, c.mul(d, inv), inv}
}

// back takes the gradient of hat to that of x:
//
//	dx = inv (dhat - mean(dhat) - hat mean(dhat hat))
func (c *call) back(s standard, dhat string) string {
	centred := c.sub(dhat, c.mean(dhat, s.axes, true))
	along := c.mul(s.hat, c.mean(c.mul(dhat, s.hat), s.axes, true))
	return c.mul(s.inv, c.sub(centred, along))
}

// perChannel shapes a vector over channels so that it broadcasts against x.
func (c *call) perChannel(v, x string) string {
	n := c.rank(x) - 2
	if n <= 0 {
		return v
	}
	dims := append([]int64{-1}, slices.Repeat([]int64{1}, n)...)
	if t := c.inits[v]; t != nil && len(t.Dims) == 1 {
		dims[0] = t.Dims[0]
		return c.constant(onnx.RawTensor("", t.Type, t.Raw, dims...))
	}
	return c.apply("Reshape", v, c.ints(dims...))
}

// vjpBatchNorm is the rule of inference, where mean and variance are given.
func vjpBatchNorm(c *call) {
	c.only()
	x, dy := c.x(0), c.dy()
	eps := float64(c.node.Float("epsilon", 1e-5))
	if c.node.Int("training_mode", 0) != 0 {
		c.batchNormTraining(x, dy, eps)
		return
	}
	factor, inv := c.batchNormFactor(eps)
	if t := c.inits[factor]; t != nil && c.isBlocked(x) {
		c.give(0, c.depthwise(dy, t.Raw, nil))
	} else {
		c.give(0, c.mul(dy, factor))
	}
	if !c.wants(1) && !c.wants(2) && !c.wants(3) && !c.wants(4) {
		return
	}
	// Sums over all but the channels. For the rest, with d = x - mean:
	// dscale = sum(dy d) inv, dmean = -sum(dy) scale inv,
	// dvar = -1/2 sum(dy d) scale inv^3.
	sumDy := c.channelSum(dy, x)
	c.give(2, sumDy)
	if c.wants(3) {
		c.give(3, c.neg(c.mul(sumDy, c.mul(c.x(1), inv))))
	}
	if c.wants(1) || c.wants(4) {
		sumDyD := c.channelSum(c.mul(dy, c.sub(x, c.perChannel(c.x(3), x))), x)
		dscale := c.mul(sumDyD, inv)
		c.give(1, dscale)
		if c.wants(4) {
			c.give(4, c.scale(c.mul(c.mul(dscale, c.x(1)), c.mul(inv, inv)), -0.5))
		}
	}
}

// batchNormTraining is the rule of training, where mean and variance are those
// of the batch and the running ones only go to the other outputs.
func (c *call) batchNormTraining(x, dy string, eps float64) {
	s := c.standardise(x, append([]int64{0}, span(2, c.rank(x))...), eps)
	if c.wants(0) {
		c.give(0, c.back(s, c.mul(dy, c.perChannel(c.x(1), x))))
	}
	if c.wants(1) {
		c.give(1, c.channelSum(c.mul(dy, s.hat), x))
	}
	if c.wants(2) {
		c.give(2, c.channelSum(dy, x))
	}
	c.stop(3)
	c.stop(4)
}

// batchNormFactor is scale/sqrt(var + eps), shaped for x, and 1/sqrt(var + eps)
// as a vector, "" when the parameters are constants: the factor is then
// computed here rather than at every run.
func (c *call) batchNormFactor(eps float64) (factor, inv string) {
	scale, constScale := c.tryFloats(c.x(1))
	variance, constVar := c.tryFloats(c.x(4))
	if constScale && constVar && len(scale) == len(variance) && !c.wants(1) && !c.wants(3) && !c.wants(4) {
		v := make([]float64, len(scale))
		for i := range v {
			v[i] = scale[i] / math.Sqrt(variance[i]+eps)
		}
		dims := append([]int64{int64(len(v))}, slices.Repeat([]int64{1}, max(0, c.rank(c.x(0))-2))...)
		return c.nums(v, dims...), ""
	}
	inv = c.apply("Reciprocal", c.apply("Sqrt", c.add(c.x(4), c.num(eps))))
	return c.perChannel(c.mul(c.x(1), inv), c.x(0)), inv
}

// vjpInstanceNorm normalises over space, for each sample and channel.
func vjpInstanceNorm(c *call) {
	x, dy := c.x(0), c.dy()
	s := c.standardise(x, span(2, c.rank(x)), float64(c.node.Float("epsilon", 1e-5)))
	if c.wants(0) {
		c.give(0, c.back(s, c.mul(dy, c.perChannel(c.x(1), x))))
	}
	if c.wants(1) {
		c.give(1, c.channelSum(c.mul(dy, s.hat), x))
	}
	if c.wants(2) {
		c.give(2, c.channelSum(dy, x))
	}
}

// vjpGroupNorm normalises over the channels of a group and space. Until opset
// 20 scale and bias had an entry a group, since 21 one a channel.
func vjpGroupNorm(c *call) {
	x, dy := c.x(0), c.dy()
	groups, channels := c.node.Int("num_groups", 1), c.fixed(x, 1)
	perGroup := c.fixed(c.x(1), 0) == groups && groups != channels
	r := c.rank(x)
	// Everything happens in [N, groups, channels of one, space].
	shape := append([]int64{-1, groups, channels / groups}, c.spatial(x)...)
	split := func(v string) string { return c.apply("Reshape", v, c.ints(shape...)) }
	ones := slices.Repeat([]int64{1}, r-2)
	param := func(v string) string {
		per := channels / groups
		if perGroup {
			per = 1
		}
		return c.apply("Reshape", v, c.ints(append([]int64{groups, per}, ones...)...))
	}
	total := func(v string) string {
		axes := append([]int64{0}, span(3, r+1)...)
		if perGroup {
			axes = append([]int64{0}, span(2, r+1)...)
		}
		return c.flat(c.sum(v, axes, false))
	}
	s := c.standardise(split(x), span(2, r+1), float64(c.node.Float("epsilon", 1e-5)))
	d := split(dy)
	if c.wants(0) {
		c.give(0, c.reshapeLike(c.back(s, c.mul(d, param(c.x(1)))), x))
	}
	if c.wants(1) {
		c.give(1, total(c.mul(d, s.hat)))
	}
	if c.wants(2) {
		c.give(2, total(d))
	}
}

func vjpLayerNorm(c *call) {
	c.only()
	x, dy := c.x(0), c.dy()
	axes := span(c.axis(c.node.Int("axis", -1), c.rank(x)), c.rank(x))
	s := c.standardise(x, axes, float64(c.node.Float("epsilon", 1e-5)))
	if c.wants(0) {
		c.give(0, c.back(s, c.mul(dy, c.x(1))))
	}
	c.giveBroadcast(1, func() string { return c.mul(dy, s.hat) })
	c.giveBroadcast(2, func() string { return dy })
}

// vjpRMSNorm is the rule of y = scale x inv, inv = 1/sqrt(mean(x^2) + eps).
func vjpRMSNorm(c *call) {
	x, dy := c.x(0), c.dy()
	axes := span(c.axis(c.node.Int("axis", -1), c.rank(x)), c.rank(x))
	square := c.mean(c.mul(x, x), axes, true)
	inv := c.apply("Reciprocal", c.apply("Sqrt", c.add(square, c.num(float64(c.node.Float("epsilon", 1e-5))))))
	hat := c.mul(x, inv)
	if c.wants(0) {
		dhat := c.mul(dy, c.x(1))
		along := c.mul(hat, c.mean(c.mul(dhat, hat), axes, true))
		c.give(0, c.mul(inv, c.sub(dhat, along)))
	}
	c.giveBroadcast(1, func() string { return c.mul(dy, hat) })
}

// vjpMeanVariance: the operator's definition adds 1e-9 to the deviation, not
// the variance; the difference is far below float32.
func vjpMeanVariance(c *call) {
	s := c.standardise(c.x(0), c.node.Ints("axes", []int64{0, 2, 3}), 1e-18)
	c.give(0, c.back(s, c.dy()))
}

// vjpLpNorm is the rule of y = x / |x|_p along an axis.
func vjpLpNorm(c *call) {
	x, y, dy := c.x(0), c.y(0), c.dy()
	axes := []int64{int64(c.axis(c.node.Int("axis", -1), c.rank(x)))}
	along := c.sum(c.mul(dy, y), axes, true)
	if c.node.Int("p", 2) == 1 {
		c.give(0, c.overNorm(c.sub(dy, c.mul(c.apply("Sign", x), along)), c.norm1(x, axes)))
		return
	}
	c.give(0, c.overNorm(c.sub(dy, c.mul(y, along)), c.norm2(x, axes)))
}

func (c *call) norm1(x string, axes []int64) string { return c.sum(c.apply("Abs", x), axes, true) }

func (c *call) norm2(x string, axes []int64) string {
	return c.apply("Sqrt", c.sum(c.mul(x, x), axes, true))
}

// overNorm divides by a norm, and gives 0 where the norm is: normalising
// leaves a vector of zeros as it is.
func (c *call) overNorm(v, norm string) string {
	zero := c.apply("Equal", norm, c.num(0))
	return c.pick(zero, c.num(0), c.div(v, c.pick(zero, c.num(1), norm)))
}

// vjpLRN is the rule of local response normalisation (Krizhevsky et al. 2012),
// y = x s^-beta with s = bias + alpha/size * sum of x^2 over near channels:
//
//	dx = dy s^-beta - 2 alpha beta/size x sum over near channels of dy x s^(-beta-1)
//
// The sums are products with a band matrix.
func vjpLRN(c *call) {
	x, dy := c.x(0), c.dy()
	size := c.node.Int("size", 1)
	alpha, beta := float64(c.node.Float("alpha", 1e-4)), float64(c.node.Float("beta", 0.75))
	channels := c.fixed(x, 1)
	band := c.matrix(channels, channels)
	for i := range channels {
		lo, hi := i-(size-1)/2, i+size/2 // as the standard rounds
		for j := max(0, lo); j <= min(channels-1, hi); j++ {
			band[i][j] = 1
		}
	}
	pre, post := c.extents(x, 0, 1), c.extents(x, 2, c.rank(x))
	near := c.along(c.mul(x, x), pre, post, band)
	s := c.add(c.num(float64(c.node.Float("bias", 1))), c.scale(near, alpha/float64(size)))
	scaled := c.mul(dy, c.apply("Pow", s, c.num(-beta)))
	inner := c.div(c.mul(scaled, x), s)
	far := c.along(inner, pre, post, band.transpose())
	c.give(0, c.sub(scaled, c.scale(c.mul(x, far), 2*alpha*beta/float64(size))))
}

// softmaxRules normalise by a sum of exponentials.
var softmaxRules = []Rule{
	{Op: "Softmax", Since: 13, VJP: func(c *call) {
		// y (dy - sum(dy y))
		y, dy := c.y(0), c.dy()
		axis := int64(c.axis(c.node.Int("axis", -1), c.rank(y)))
		c.give(0, c.mul(y, c.sub(dy, c.sum(c.mul(dy, y), []int64{axis}, true))))
	}},
	{Op: "LogSoftmax", Since: 13, VJP: func(c *call) {
		// dy - exp(y) sum(dy)
		y, dy := c.y(0), c.dy()
		axis := int64(c.axis(c.node.Int("axis", -1), c.rank(y)))
		c.give(0, c.sub(dy, c.mul(c.apply("Exp", y), c.sum(dy, []int64{axis}, true))))
	}},
}
