package redoubt_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/redoubt-ml/redoubt"

// layers is the house: a package imports only from its own wing and from
// layers above its own. See docs/design/house.md.
var layers = [][]string{
	{"."},
	{"ml", "store"},
	{"attack", "supply", "watch"},
	{"defend", "privacy", "serve"},
	{"assess", "govern", "report"},
	{"console"},
	{"cmd", "bench"},
}

// walls are forbidden imports with their reasons.
var walls = []struct{ from, to, reason string }{
	{"serve", "attack", "a production gateway carries no attack code"},
	{"serve", "defend/harden", "a production gateway carries no attack code"},
	{"watch", "attack", "a production gateway carries no attack code"},
	{"report", "ml", "report renders the root's types only"},
	{"report", "attack", "report renders the root's types only"},
	{"report", "assess", "report renders the root's types only"},
	{"attack", "ml/ort", "attacks know models by their interfaces, so that they run against anything"},
	{"attack", "ml/grad", "attacks know models by their interfaces, so that they run against anything"},
}

// sources calls do for every Go file of the module. It reads the files itself:
// a test that asks the go command is cached although they changed.
func sources(t *testing.T, do func(dir, path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || slices.Contains([]string{"testdata", "bin", "out", "node_modules"}, d.Name())) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			do(filepath.ToSlash(filepath.Dir(path)), path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func layer(dir string) int {
	wing, _, _ := strings.Cut(dir, "/")
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, wing) })
}

func inside(dir, room string) bool { return dir == room || strings.HasPrefix(dir, room+"/") }

func TestImportsPointDown(t *testing.T) {
	sources(t, func(dir, path string) {
		if inside(dir, "internal") || strings.HasSuffix(path, "_test.go") {
			return
		}
		here := layer(dir)
		if here < 0 {
			t.Errorf("%s: in no wing of the house: enter it in layers", dir)
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			to, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
			if !ours {
				continue
			}
			if to = strings.TrimPrefix(to, "/"); to == "" {
				to = "."
			}
			checkImport(t, path, dir, to, here)
		}
	})
}

func checkImport(t *testing.T, path, dir, to string, here int) {
	wing := func(d string) string { w, _, _ := strings.Cut(d, "/"); return w }
	switch {
	case inside(to, "internal"):
	case layer(to) < 0:
		t.Errorf("%s imports %s, which is in no wing of the house", path, to)
	case layer(to) > here || layer(to) == here && wing(to) != wing(dir):
		t.Errorf("%s imports %s: %s stands no higher in the house", path, to, wing(to))
	}
	for _, w := range walls {
		if inside(dir, w.from) && inside(to, w.to) {
			t.Errorf("%s imports %s: %s", path, to, w.reason)
		}
	}
}
