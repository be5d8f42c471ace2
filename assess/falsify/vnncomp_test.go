package falsify

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
	"github.com/redoubt-ml/redoubt/ml/vnnlib/vnncomp"
)

var seconds = flag.Float64("seconds", 0, "search each unsafe VNN-COMP instance for so long, and the others a tenth of it, instead of a few rounds")

// hunt searches for a few rounds, of which the larger networks get fewer where
// nothing is to be found, or for the seconds that the flag gives.
func hunt(t *testing.T, i vnncomp.Instance, m *model.Local, p *vnnlib.Property) (*Counterexample, error) {
	ctx, o := t.Context(), Options{Seed: 1}
	if *seconds > 0 {
		limit := time.Duration(*seconds * float64(time.Second))
		if i.Expected != "sat" {
			limit /= 10
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	} else if o.Rounds = 5; i.Expected != "sat" {
		o.Rounds = 2
		if p.Inputs > 1000 {
			o.Rounds = 1
		}
	}
	return Search(ctx, m, p, o)
}

// No instance that two sound verifiers proved safe is ever falsified, and
// nearly all that are known to be unsafe are: at least 98 % of those that a
// plain PGD finds and 90 % of all. 'make falsify' searches 20 s each.
func TestVNNCOMP(t *testing.T) {
	rt := orttest.Runtime(t)
	// The same network serves many properties.
	models := map[string]*model.Local{}
	for _, i := range vnncomp.Instances(t) {
		if models[i.Network] == nil {
			l, err := model.Open(t.Context(), rt, need.Data(t, i.Network), model.Config{Raw: true})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			models[i.Network] = l
		}
	}
	var sat, found, easy, easyFound int
	for _, i := range vnncomp.Instances(t) {
		p, err := vnnlib.Read(need.Data(t, i.Property))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		c, err := hunt(t, i, models[i.Network], p)
		if err != nil {
			t.Fatalf("%s: %v", i.ID, err)
		}
		switch {
		case i.Expected == "unsat" && c != nil:
			t.Errorf("%s: proven safe, yet falsified", i.ID)
		case i.Expected == "unknown" && c != nil:
			t.Logf("%s: falsified, which no tool of the competition managed", i.ID)
		case i.Expected == "sat":
			sat++
			if i.Easy {
				easy++
			}
			if c == nil {
				t.Logf("%s: not found (easy: %v)", i.ID, i.Easy)
				break
			}
			found++
			if i.Easy {
				easyFound++
			}
			if d := time.Since(start); d > time.Second {
				t.Logf("%s: found after %.1f s", i.ID, d.Seconds())
			}
		}
	}
	t.Logf("found %d of %d, and %d of %d that a plain PGD finds", found, sat, easyFound, easy)
	if float64(easyFound) < 0.98*float64(easy) || float64(found) < 0.90*float64(sat) {
		t.Error("want at least 90 % and 98 %")
	}
}
