package redoubt_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files of exported names")

// packages parses every package of the module but tests and commands' tests.
func packages(t *testing.T) map[string][]*ast.File {
	t.Helper()
	out := map[string][]*ast.File{}
	sources(t, func(dir, path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		out[dir] = append(out[dir], f)
	})
	return out
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for dir, files := range packages(t) {
		n := 0
		for _, f := range files {
			if f.Doc != nil {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s has %d package comments, want one", dir, n)
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for dir, files := range packages(t) {
		for _, f := range files {
			if ast.IsGenerated(f) {
				continue // what it was made from has the comments
			}
			for _, d := range f.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil && !implements(d.Name.Name) {
						t.Errorf("%s: %s has no doc comment", dir, d.Name.Name)
					}
				case *ast.GenDecl:
					for _, s := range d.Specs {
						if name, documented := specDoc(d, s); name != "" && !documented {
							t.Errorf("%s: %s has no doc comment", dir, name)
						}
					}
				}
			}
		}
	}
}

// implements lists methods whose meaning the standard library gives.
func implements(method string) bool {
	return slices.Contains([]string{"String", "Error", "Unwrap", "MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON", "Len", "Less", "Swap", "Read", "Write", "Close"}, method)
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch t := e.(type) {
		case *ast.StarExpr:
			e = t.X
			continue
		case *ast.IndexExpr:
			e = t.X
			continue
		case *ast.Ident:
			return t.IsExported()
		}
		return false
	}
}

func specDoc(d *ast.GenDecl, s ast.Spec) (name string, documented bool) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			return s.Name.Name, d.Doc != nil || s.Doc != nil
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() {
				return n.Name, d.Doc != nil || s.Doc != nil || s.Comment != nil
			}
		}
	}
	return "", true
}

// The exported names of each package are a golden file, so that a new one
// shows in review. Rewrite them with: go test . -update
func TestExportedNames(t *testing.T) {
	all := packages(t)
	if *update {
		if err := os.RemoveAll("testdata/api"); err != nil {
			t.Fatal(err)
		}
	}
	for dir, files := range all {
		if files[0].Name.Name == "main" || inside(dir, "internal") || inside(dir, "cmd") || inside(dir, "bench") {
			continue
		}
		got := strings.Join(exported(files), "\n") + "\n"
		name := strings.ReplaceAll(dir, "/", "_")
		if dir == "." {
			name = "redoubt"
		}
		golden := filepath.Join("testdata", "api", name+".txt")
		if *update {
			if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil || string(want) != got {
			t.Errorf("%s: the exported names changed; if that is meant, run: go test . -update", dir)
		}
	}
}

func exported(files []*ast.File) []string {
	lines := map[string]bool{}
	for _, f := range files {
		if ast.IsGenerated(f) {
			continue
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) {
					lines["func "+receiver(d)+d.Name.Name+strings.TrimPrefix(text(d.Type), "func")] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							lines["type "+s.Name.Name] = true
						}
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() {
								lines[fmt.Sprintf("%s %s", d.Tok, n.Name)] = true
							}
						}
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(lines))
}

func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	return "(" + text(d.Recv.List[0].Type) + ") "
}

func text(n ast.Node) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, token.NewFileSet(), n); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
