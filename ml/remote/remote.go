// Package remote asks a model behind an HTTP endpoint, within limits that its
// owner sets: a budget of queries, a rate, and no request to any other host.
//
// [Open] reads what the endpoint says of itself and asks nothing yet;
// [Endpoint.Try] puts a few samples to it and learns how it answers; from then
// on it is a [model.Scores] like any other, for several goroutines at a time.
//
//	e, err := remote.Open(ctx, "https://host/v2/models/digits", remote.Config{
//		Token: token, Budget: 10_000, Rate: 50,
//	})
//	err = e.Try(ctx, samples) // five queries or so
//	logits, err := e.Scores(ctx, x)
//
// Two kinds of server are understood. An address with /v2/models/NAME in its
// path speaks the Open Inference Protocol (KServe, Triton, MLServer), with tensors
// in binary where the server says that it takes them. Any other takes JSON
// made from a template; those of TensorFlow Serving and KServe v1
// (".../NAME:predict") and of MLflow (".../invocations") are known.
//
// Whatever the server answers is untrusted: it is read within limits and checked
// against what was asked before it is believed.
package remote

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Config says how to ask. The zero value suits a server of the Open Inference
// Protocol with one input that needs no credentials.
type Config struct {
	Input  string // input to attack; "" means the only one
	Output string // output to read; "" means the first of floats, else the first
	// Mean and Std normalise samples before they are sent, one number or one a
	// channel; Layout says which dimension holds the channels, "nchw" (or "") or
	// "nhwc".
	Mean, Std []float64
	Layout    string

	// Request is JSON with $x where the samples go, or $row where one sample
	// goes in each request. Response is where the answers stand, such as
	// "predictions[*].scores". Both are "" for a protocol that the address
	// shows.
	Request, Response string
	// Answers says what the endpoint answers with; the zero value finds out.
	Answers Answers
	// Names are the classes in order, for endpoints that answer with their
	// names. Classes is how many there are where only labels are answered; 0
	// means as many as Names.
	Names   []string
	Classes int

	// Budget is the most samples that may be put to the endpoint; 0 means any
	// number. Those sent again after a failure count again; those of a request
	// that was refused (status 4xx) do not count.
	Budget int64
	// Rate is the most samples a second; 0 means any.
	Rate float64
	// Batch is the most samples in a request; 0 means 64. Fewer are sent where
	// the server refuses so many.
	Batch int
	// Timeout bounds one request; 0 means 30 seconds.
	Timeout time.Duration

	// Token is sent with every request: in the header "Authorization" as
	// "Bearer", or in another header as it is.
	Token  string
	Header string
	// CA is a PEM file of authorities to trust instead of the system's; Cert and
	// Key are PEM files of a certificate to show.
	CA, Cert, Key string
	// InsecureHTTP allows http:// to other hosts than this one.
	InsecureHTTP bool
}

// Answers is what an endpoint answers with.
type Answers int

// The kinds of answers.
const (
	AnyAnswers     Answers = iota // found out from the first answers
	RawScores                     // scores without bound, taken for logits
	ProbabilityRow                // probabilities; attacks see their logarithms
	LabelOnly                     // the predicted class, by number or name
)

var answerNames = []string{"auto", "scores", "probabilities", "labels"}

func (a Answers) String() string { return answerNames[a] }

// ParseAnswers reads "auto", "scores", "probabilities" or "labels".
func ParseAnswers(s string) (Answers, error) {
	if i := slices.Index(answerNames, s); i >= 0 {
		return Answers(i), nil
	}
	return 0, fmt.Errorf("answers %q: want one of %s", s, strings.Join(answerNames, ", "))
}

// Is reports whether a model's name is the address of an endpoint rather than a
// file.
func Is(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

// Endpoint is a model behind an address. After [Endpoint.Try] it implements
// [model.Scores]; its results are the caller's to keep.
type Endpoint struct {
	cfg    Config
	client *client
	wire   wire
	about  string // what the server says it is
	sample []int64

	answers Answers
	classes int

	mu            sync.Mutex
	limit, proven int // samples in a request: the most tried, the most that went well
}

// wire is one way to put samples to a server and to read what comes back.
type wire interface {
	// call is the request for samples x, already normalised.
	call(x *tensor.Tensor) (*call, error)
	// read is the answer of n samples; what it holds is checked for size and
	// shape, not for meaning.
	read(r *reply, n int) (*answer, error)
	// single reports that a request takes one sample only.
	single() bool
}

// defaultBatch is how many samples a request holds at most: enough that the
// way to the server is not what takes the time.
const defaultBatch = 64

// Open reads what the endpoint says of itself. It asks the model nothing.
func Open(ctx context.Context, address string, cfg Config) (*Endpoint, error) {
	u, err := checkAddress(address, cfg.InsecureHTTP)
	if err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{cfg: cfg, client: c, limit: cfg.Batch}
	if e.limit == 0 {
		e.limit = defaultBatch
	}
	if cfg.Rate > 0 {
		// A request is sent at once: more samples than a second may bring would
		// be a burst.
		e.limit = min(e.limit, max(int(cfg.Rate), 1))
	}
	if base, ok := inferenceBase(u); ok && cfg.Request == "" && cfg.Response == "" {
		err = e.openInference(ctx, u, base)
	} else {
		e.wire, err = newTemplate(u, cfg)
		e.about = "JSON"
	}
	if err != nil {
		return nil, err
	}
	if e.wire.single() {
		e.limit = 1
	}
	return e, nil
}

// checkAddress refuses addresses that would carry secrets into a report or
// samples over an open line.
func checkAddress(address string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the endpoint's address cannot be read: want https://host/v2/models/NAME")
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("the address of %s holds a user name or password, which the report would show: give a token instead", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the address of %s has a query or a fragment: leave it out; a key belongs into the token", u.Host)
	case u.Host == "":
		return nil, fmt.Errorf("the address %q names no host: want https://host/v2/models/NAME", address)
	case u.Scheme == "http" && !insecure && !loopback(u.Hostname()):
		return nil, fmt.Errorf("http to %s would send samples and token unprotected: use https, or allow it with --insecure-http", u.Host)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	return u, nil
}

func (c *Config) check() error {
	switch {
	case c.Budget < 0 || c.Rate < 0 || math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) || c.Batch < 0 || c.Timeout < 0 || c.Classes < 0:
		return errors.New("query budget, rate, batch, timeout and classes start at 0")
	case c.Classes > 0 && len(c.Names) > 0 && c.Classes != len(c.Names):
		return fmt.Errorf("%d classes, but %d names of classes", c.Classes, len(c.Names))
	}
	if c.Classes == 0 {
		c.Classes = len(c.Names)
	}
	for _, s := range c.Std {
		if !(s > 0) {
			return fmt.Errorf("std holds %v: every value must be positive", s)
		}
	}
	return nil
}

// Declared is the shape of a sample as the server declares it, -1 where it
// leaves a dimension open; false if it declares none.
func (e *Endpoint) Declared() ([]int64, bool) { return slices.Clone(e.sample), e.sample != nil }

// Classes is the number of logits, known after [Endpoint.Try].
func (e *Endpoint) Classes() int { return e.classes }

// Protocol says in a few words what is spoken with the server.
func (e *Endpoint) Protocol() string { return e.about }

// Probability reports whether the endpoint answers with probabilities, of which
// attacks see the logarithms.
func (e *Endpoint) Probability() bool { return e.answers == ProbabilityRow }

// Access is how much of the model its answers show.
func (e *Endpoint) Access() model.Access {
	if e.answers == LabelOnly {
		return model.Labels
	}
	return model.ScoresOnly
}

// Account is what has been asked so far.
func (e *Endpoint) Account() Account { return e.client.account() }

// Left is how many queries the budget still allows; false if any number.
func (e *Endpoint) Left() (int64, bool) { return e.client.left() }

// batch is how many of n samples go into the next request.
func (e *Endpoint) batch(n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return min(n, e.limit)
}

// learn remembers how a request of n samples went, and reports whether to try
// with fewer: a server that takes less than this refuses, and one that took as
// many before refuses for another reason.
func (e *Endpoint) learn(n int, err error) (fewer bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		e.proven = max(e.proven, n)
		return false
	}
	var r *refusal
	if !errors.As(err, &r) || !r.mayBeSize() || n <= max(e.proven, 1) {
		return false
	}
	e.limit = min(e.limit, max(n/2, e.proven, 1))
	return true
}

// Scores implements [model.Scores]. A call that the budget does not cover as a
// whole is not begun, and fails with [model.ErrBudget].
func (e *Endpoint) Scores(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	if e.classes == 0 {
		return nil, errors.New("ask the endpoint: Try was not called")
	}
	if left, limited := e.client.left(); limited && int64(x.Rows()) > left {
		return nil, fmt.Errorf("ask the endpoint about %d samples with %d queries left: %w", x.Rows(), left, model.ErrBudget)
	}
	out := tensor.New(x.Rows(), e.classes)
	for lo := 0; lo < x.Rows(); {
		n := e.batch(x.Rows() - lo)
		a, err := e.ask(ctx, x.Slice(lo, lo+n))
		if e.learn(n, err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		z, err := e.logits(a)
		if err != nil {
			return nil, err
		}
		copy(out.Data[lo*e.classes:], z.Data)
		lo += n
	}
	return out, nil
}

// ask puts samples to the endpoint in one request.
func (e *Endpoint) ask(ctx context.Context, x *tensor.Tensor) (*answer, error) {
	normal, err := e.cfg.normalised(x)
	if err != nil {
		return nil, err
	}
	call, err := e.wire.call(normal)
	if err != nil {
		return nil, err
	}
	r, err := e.client.do(ctx, call)
	if err != nil {
		return nil, err
	}
	a, err := e.wire.read(r, x.Rows())
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", call.url, err)
	}
	return a, nil
}

// normalised is (x - mean) / std.
func (c *Config) normalised(x *tensor.Tensor) (*tensor.Tensor, error) {
	if c.Mean == nil && c.Std == nil {
		return x, nil
	}
	sample, inner := x.Shape[1:], 1
	channels := 1
	if len(sample) > 0 {
		channels = sample[0]
		inner = x.RowLen() / max(channels, 1)
		if c.Layout == "nhwc" {
			channels, inner = sample[len(sample)-1], 1
		}
	}
	at := func(v []float64, j int, none float64) float64 {
		switch len(v) {
		case 0:
			return none
		case 1:
			return v[0]
		}
		return v[j/inner%channels]
	}
	for _, v := range [][]float64{c.Mean, c.Std} {
		if len(v) > 1 && len(v) != channels {
			return nil, fmt.Errorf("%d values of mean or std for %d channels of samples of shape %v", len(v), channels, sample)
		}
	}
	out := x.Clone()
	for i := range out.Rows() {
		for j, v := range out.Row(i) {
			out.Row(i)[j] = (v - float32(at(c.Mean, j, 0))) / float32(at(c.Std, j, 1))
		}
	}
	return out, nil
}
