package report

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

// pictureBudget bounds the bytes of all pictures in a page, so that it stays
// easy to send. Pictures that do not fit are counted instead.
const pictureBudget = 1_200_000

// exampleLimit bounds the examples shown of each kind.
const exampleLimit = 12

// strip is one image before and after an attack, and the magnified difference.
type strip struct {
	redoubt.Example
	Label, Before, After          string // class names
	Original, Changed, Difference template.URL
	Gain                          string // the magnification of the difference
	Width, Height                 int
	Size                          string // of the perturbation, in the threat's norm
}

// change is one tabular sample before and after an attack.
type change struct {
	redoubt.Example
	Label, Before, After string
	Rows                 []changedFeature
	More                 int // changed features not shown
	Size                 string
}

type changedFeature struct {
	Name, Before, After, Delta string
}

// examples parts the assessment's examples into pictures and rows, and counts
// those left out.
func examples(a *redoubt.Assessment) (strips []strip, changes []change, left int) {
	spent := 0
	for i := range a.Examples {
		e := &a.Examples[i]
		if len(e.Original) != len(e.Changed) || len(e.Original) == 0 {
			left++
			continue
		}
		if _, isImage := imageShape(e); !isImage {
			if len(changes) < exampleLimit {
				changes = append(changes, changeOf(a, e))
			} else {
				left++
			}
			continue
		}
		s, err := stripOf(a, e)
		bytes := len(s.Original) + len(s.Changed) + len(s.Difference)
		if err != nil || len(strips) == exampleLimit || spent+bytes > pictureBudget {
			left++
			continue
		}
		spent += bytes
		strips = append(strips, s)
	}
	return strips, changes, left
}

// grid is how an image lies in a sample: the pixel of channel c at x, y is
// element c*C + y*Y + x*X.
type grid struct{ W, H, Channels, C, Y, X int }

// imageShape finds the grid of an example of one or three colours.
func imageShape(e *redoubt.Example) (grid, bool) {
	s := slices.Clone(e.Shape)
	for len(s) > 3 && s[0] == 1 {
		s = s[1:]
	}
	if len(s) == 2 && e.Layout != "flat" {
		s = append([]int{1}, s...)
	} else if len(s) != 3 {
		return grid{}, false
	}
	var g grid
	switch {
	case e.Layout == "chw" || len(e.Shape) == 2:
		g = grid{W: s[2], H: s[1], Channels: s[0], C: s[1] * s[2], Y: s[2], X: 1}
	case e.Layout == "hwc":
		g = grid{W: s[1], H: s[0], Channels: s[2], C: 1, Y: s[1] * s[2], X: s[2]}
	}
	ok := (g.Channels == 1 || g.Channels == 3) && g.W > 1 && g.H > 1 && g.W*g.H*g.Channels == len(e.Original)
	return g, ok
}

func stripOf(a *redoubt.Assessment, e *redoubt.Example) (strip, error) {
	g, _ := imageShape(e)
	lo, hi := a.Data.Bounds[0], a.Data.Bounds[1]
	if !(lo < hi) {
		lo, hi = 0, 1
	}
	largest := 0.0
	for i, v := range e.Changed {
		largest = math.Max(largest, math.Abs(float64(v)-float64(e.Original[i])))
	}
	gain := 1.0
	if largest > 0 {
		gain = (hi - lo) / 2 / largest
	}
	s := strip{Example: *e, Label: className(a, e.Label), Before: className(a, e.Before), After: className(a, e.After),
		Gain: "×" + num(math.Round(gain*10)/10), Width: g.W, Height: g.H, Size: sizeOf(e)}
	var err error
	scale := func(v float64) float64 { return (v - lo) / (hi - lo) }
	pixels := func(at func(i int) float64) template.URL {
		u, e := dataURI(g, at)
		err = cmp.Or(err, e)
		return u
	}
	s.Original = pixels(func(i int) float64 { return scale(float64(e.Original[i])) })
	s.Changed = pixels(func(i int) float64 { return scale(float64(e.Changed[i])) })
	s.Difference = pixels(func(i int) float64 {
		return 0.5 + gain*(float64(e.Changed[i])-float64(e.Original[i]))/(hi-lo)
	})
	return s, err
}

// dataURI is the picture whose element i has the brightness at(i), 0 to 1.
func dataURI(g grid, at func(i int) float64) (template.URL, error) {
	level := func(i int) uint8 {
		v := at(i)
		if math.IsNaN(v) {
			return 0
		}
		return uint8(math.Round(255 * min(max(v, 0), 1)))
	}
	var img image.Image
	box := image.Rect(0, 0, g.W, g.H)
	if g.Channels == 1 {
		grey := image.NewGray(box)
		each(g, func(x, y, i int) { grey.SetGray(x, y, color.Gray{Y: level(i)}) })
		img = grey
	} else {
		rgb := image.NewRGBA(box)
		each(g, func(x, y, i int) {
			rgb.SetRGBA(x, y, color.RGBA{level(i), level(i + g.C), level(i + 2*g.C), 255})
		})
		img = rgb
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, img); err != nil {
		return "", fmt.Errorf("draw example: %w", err)
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())), nil
}

func each(g grid, pixel func(x, y, i int)) {
	for y := range g.H {
		for x := range g.W {
			pixel(x, y, y*g.Y+x*g.X)
		}
	}
}

// changedLimit bounds the features listed for one sample.
const changedLimit = 12

// changeOf lists what an attack changed in a row, the largest changes first.
func changeOf(a *redoubt.Assessment, e *redoubt.Example) change {
	c := change{Example: *e, Label: className(a, e.Label), Before: className(a, e.Before), After: className(a, e.After), Size: sizeOf(e)}
	var at []int
	for i := range e.Original {
		if e.Original[i] != e.Changed[i] {
			at = append(at, i)
		}
	}
	delta := func(i int) float64 { return float64(e.Changed[i]) - float64(e.Original[i]) }
	slices.SortStableFunc(at, func(i, j int) int { return cmp.Compare(math.Abs(delta(j)), math.Abs(delta(i))) })
	if len(at) > changedLimit {
		c.More, at = len(at)-changedLimit, at[:changedLimit]
	}
	for _, i := range at {
		name := fmt.Sprintf("element %d", i)
		if i < len(a.Data.Features) {
			name = a.Data.Features[i]
		}
		sign := "+"
		if delta(i) < 0 {
			sign = "−"
		}
		c.Rows = append(c.Rows, changedFeature{name, num(float64(e.Original[i])), num(float64(e.Changed[i])), sign + num(math.Abs(delta(i)))})
	}
	return c
}

// sizeOf is the size of an example's perturbation in its norm.
func sizeOf(e *redoubt.Example) string {
	var sum, squares, largest, moved float64
	for i, v := range e.Changed {
		d := math.Abs(float64(v) - float64(e.Original[i]))
		sum, squares, largest = sum+d, squares+d*d, math.Max(largest, d)
		if d > 0 {
			moved++
		}
	}
	size := map[string]float64{"linf": largest, "l2": math.Sqrt(squares), "l1": sum, "l0": moved}
	v, ok := size[strings.TrimPrefix(e.Norm, "universal-")]
	if !ok {
		return boundName(e.Norm, e.Eps)
	}
	return normName(e.Norm) + " = " + num(v)
}
