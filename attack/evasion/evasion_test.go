package evasion_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/attack/evasion"
	"github.com/redoubt-ml/redoubt/attack/evasion/evasiontest"
)

// brief are the settings of attacks that spend thousands of answers a sample.
var brief = map[string]evasion.Settings{
	"cw":          {Steps: 100},
	"cw-linf":     {Steps: 50, Step: 0.1},
	"cw-l0":       {Steps: 50, Step: 0.1},
	"ead":         {Steps: 100},
	"sigma-zero":  {Steps: 100},
	"hopskipjump": {Queries: 2000},
	"geoda":       {Queries: 2000},
	"boundary":    {Queries: 3000},
	"zoo":         {Queries: 3000},
	"simba":       {Queries: 1000},
	"simba-dct":   {Queries: 1000},
}

func TestEveryAttack(t *testing.T) {
	for _, s := range evasion.All {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			evasiontest.Check(t, s, brief[s.Name])
		})
	}
}

// A spec that is declared but not listed would never be run.
func TestEverySpecIsListed(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if u, ok := n.(*ast.UnaryExpr); ok && u.Op == token.AND {
				if c, ok := u.X.(*ast.CompositeLit); ok {
					if id, ok := c.Type.(*ast.Ident); ok && id.Name == "Spec" {
						declared++
					}
				}
			}
			return true
		})
	}
	if declared != len(evasion.All) {
		t.Errorf("%d specs are declared, %d are listed in All", declared, len(evasion.All))
	}
	seen := map[string]bool{}
	for _, s := range evasion.All {
		if seen[s.Name] || s.Doc == "" || s.Paper == "" || s.Technique == "" || s.New == nil {
			t.Errorf("spec %q is incomplete or listed twice", s.Name)
		}
		seen[s.Name] = true
	}
}

// Projection gives a point of ball and box, and for Linf and L1 the nearest
// one: no other point tried is nearer.
func TestProject(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	box := evasion.Box{Lo: []float32{0}, Hi: []float32{1}}
	const d = 6
	for _, n := range evasion.Norms {
		for trial := range 200 {
			eps := []float64{0.01, 0.2, 1, 3}[trial%4]
			origin, far := make([]float32, d), make([]float32, d)
			for j := range origin {
				origin[j], far[j] = rng.Float32(), 2*rng.Float32()-0.5
				if rng.IntN(4) == 0 {
					origin[j] = float32(rng.IntN(2))
				}
			}
			got := slices.Clone(far)
			n.Project(got, origin, eps, box)
			if s := size(n, got, origin); s > eps*(1+1e-5)+1e-7 {
				t.Fatalf("%s: projection has size %v, allowed %v", n.Name(), s, eps)
			}
			for _, v := range got {
				if v < 0 || v > 1 {
					t.Fatalf("%s: projection leaves the box: %v", n.Name(), got)
				}
			}
			if n == evasion.L2 {
				continue
			}
			for range 300 {
				other := slices.Clone(origin)
				p := make([]float32, d)
				n.Sample(rng, p, eps)
				for j := range other {
					other[j] = min(max(other[j]+p[j], 0), 1)
				}
				if distance(other, far) < distance(got, far)-1e-5 {
					t.Fatalf("%s: %v is nearer to %v than its projection %v", n.Name(), other, far, got)
				}
			}
		}
	}
}

func size(n evasion.Norm, x, origin []float32) float64 {
	d := slices.Clone(x)
	for j := range d {
		d[j] -= origin[j]
	}
	return n.Size(d)
}

func distance(a, b []float32) float64 {
	s := 0.0
	for j := range a {
		s += float64(a[j]-b[j]) * float64(a[j]-b[j])
	}
	return math.Sqrt(s)
}

// Samples lie in the ball and fill it: the share within half the radius is
// 2^-d. With 4,000 draws in d = 3 the standard deviation of the share 0.125 is
// 0.0052; 0.026 is five of them, a false alarm in 2 million runs.
func TestSampleIsUniform(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 42))
	for _, n := range []evasion.Norm{evasion.Linf, evasion.L2, evasion.L1} {
		inner := 0
		const draws = 4000
		for range draws {
			d := make([]float32, 3)
			n.Sample(rng, d, 2)
			s := n.Size(d)
			if s > 2*(1+1e-6) {
				t.Fatalf("%s: a sample of size %v in a ball of radius 2", n.Name(), s)
			}
			if s < 1 {
				inner++
			}
		}
		if share := float64(inner) / draws; math.Abs(share-0.125) > 0.026 {
			t.Errorf("%s: %.3f of the samples lie within half the radius, want 0.125", n.Name(), share)
		}
	}
}
