package falsify

import (
	"context"
	"encoding/csv"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/vnnlib"
)

var seconds = flag.Float64("seconds", 0, "search each unsafe VNN-COMP instance for so long, and the others a tenth of it, instead of a few rounds")

// instance is a row of vnncomp/instances.csv.
type instance struct {
	id, network, property, expected string
	easy                            bool // a plain PGD found it
}

func instances(t testing.TB) []instance {
	t.Helper()
	f, err := os.Open(need.Data(t, "vnncomp/instances.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []instance
	for _, r := range rows[1:] {
		out = append(out, instance{r[0], r[3], r[4], r[5], r[10] == "1"})
	}
	return out
}

// search looks for a few rounds, of which the larger networks get fewer where
// nothing is to be found, or for the seconds that the flag gives.
func (i instance) search(t *testing.T, m *model.Local, p *vnnlib.Property) (*Counterexample, error) {
	ctx, o := t.Context(), Options{Seed: 1}
	if *seconds > 0 {
		limit := time.Duration(*seconds * float64(time.Second))
		if i.expected != "sat" {
			limit /= 10
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	} else if o.Rounds = 5; i.expected != "sat" {
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
	for _, i := range instances(t) {
		if models[i.network] == nil {
			l, err := model.Open(t.Context(), rt, need.Data(t, "vnncomp/"+i.network), model.Config{Raw: true})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			models[i.network] = l
		}
	}
	var sat, found, easy, easyFound int
	for _, i := range instances(t) {
		p, err := vnnlib.Read(need.Data(t, "vnncomp/"+i.property))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		c, err := i.search(t, models[i.network], p)
		if err != nil {
			t.Fatalf("%s: %v", i.id, err)
		}
		switch {
		case i.expected == "unsat" && c != nil:
			t.Errorf("%s: proven safe, yet falsified", i.id)
		case i.expected == "unknown" && c != nil:
			t.Logf("%s: falsified, which no tool of the competition managed", i.id)
		case i.expected == "sat":
			sat++
			if i.easy {
				easy++
			}
			if c == nil {
				t.Logf("%s: not found (easy: %v)", i.id, i.easy)
				break
			}
			found++
			if i.easy {
				easyFound++
			}
			if d := time.Since(start); d > time.Second {
				t.Logf("%s: found after %.1f s", i.id, d.Seconds())
			}
		}
	}
	t.Logf("found %d of %d, and %d of %d that a plain PGD finds", found, sat, easyFound, easy)
	if float64(easyFound) < 0.98*float64(easy) || float64(found) < 0.90*float64(sat) {
		t.Error("want at least 90 % and 98 %")
	}
}
