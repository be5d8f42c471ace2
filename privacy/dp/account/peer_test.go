package account_test

import (
	"bufio"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/privacy/dp"
	"github.com/redoubt-ml/redoubt/privacy/dp/account"
)

// peerCase is a question to dp_accounting; peer.py answers each line with its PLD
// upper bound and, under add-remove, its Rényi one.
type peerCase struct {
	Sigma, Q, Delta float64
	Steps           int
	Adjacency       string
	Mechanism       string
}

// Google's dp_accounting on parameters drawn at random. Its upper bound on a fine
// grid may not lie below our lower one, nor ours above its by more than the grid
// allows; Rényi divergences agree but for the orders that are tried.
func TestAgainstPeer(t *testing.T) {
	python := os.Getenv("REDOUBT_DP_PYTHON")
	if python == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		python = filepath.Join(cache, "redoubt", "dp-peers", "bin", "python")
	}
	if _, err := os.Stat(python); err != nil {
		need.Missing(t, "dp-accounting", "dp_accounting ("+filepath.Join("privacy", "dp", "account", "testdata", "requirements.txt")+") in a virtual environment, whose python REDOUBT_DP_PYTHON names")
	}
	draw := rand.New(rand.NewPCG(7, 7))
	between := func(lo, hi float64) float64 { return math.Exp(math.Log(lo) + draw.Float64()*math.Log(hi/lo)) }
	var cases []peerCase
	for range 12 {
		c := peerCase{Sigma: between(0.6, 6), Q: between(1e-3, 0.5), Steps: int(between(1, 3000)), Delta: between(1e-8, 1e-3), Adjacency: "add-remove", Mechanism: "gaussian"}
		switch draw.IntN(4) {
		case 0:
			c.Adjacency = "replace"
		case 1:
			c.Mechanism, c.Q = "laplace", 1
		}
		cases = append(cases, c)
	}
	var lines strings.Builder
	for _, c := range cases {
		if err := json.NewEncoder(&lines).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "testdata/peer.py")
	var warnings strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(lines.String()), &warnings
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, warnings.String())
	}
	answers := bufio.NewScanner(strings.NewReader(string(out)))
	for _, c := range cases {
		var theirs struct{ PLD, RDP float64 }
		if !answers.Scan() {
			t.Fatal("too few answers")
		}
		if err := json.Unmarshal(answers.Bytes(), &theirs); err != nil {
			t.Fatal(err)
		}
		p := sgd(dp.AddRemove, c.Sigma, c.Q, c.Steps)
		if c.Adjacency == "replace" {
			p.Adjacency = dp.Replace
		}
		if c.Mechanism == "laplace" {
			p = plan(dp.AddRemove, c.Steps, account.Laplace{Scale: c.Sigma, Clip: 1})
		}
		ours := epsilon(t, account.PLD{}, p, c.Delta)
		if theirs.PLD < ours.Lower*(1-1e-6)-1e-9 || ours.Upper > theirs.PLD*1.002+1e-4 {
			t.Errorf("%+v: ours %v, theirs %g", c, ours, theirs.PLD)
		}
		if theirs.RDP > 0 {
			rdp, _, err := account.Renyi{}.Best(p, c.Delta)
			if err != nil {
				t.Fatal(err)
			}
			if rdp > theirs.RDP*(1+1e-6) || rdp < ours.Lower {
				t.Errorf("%+v: Rényi %g, theirs %g", c, rdp, theirs.RDP)
			}
		}
	}
}
