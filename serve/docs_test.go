package serve

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/redoubt-ml/redoubt/internal/need"
)

var update = flag.Bool("update", false, "rewrite docs/serving.schema.json")

// schemas makes JSON schemas of the types of config.go: of their fields' types,
// their keys, and what their comments say.
type schemas map[string]*ast.StructType

func readTypes(t *testing.T) schemas {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	s := schemas{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if st, ok := spec.Type.(*ast.StructType); ok {
				s[spec.Name.Name] = st
			}
		}
		return true
	})
	return s
}

func (s schemas) object(t *testing.T, name string) map[string]any {
	properties := map[string]any{}
	for _, f := range s[name].Fields.List {
		if f.Tag == nil {
			continue
		}
		key := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml")
		p := s.of(t, f.Type)
		if doc := strings.Join(strings.Fields(f.Doc.Text()+f.Comment.Text()), " "); doc != "" {
			p["description"] = doc
		}
		properties[key] = p
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func (s schemas) of(t *testing.T, e ast.Expr) map[string]any {
	switch e := e.(type) {
	case *ast.StarExpr:
		return s.of(t, e.X)
	case *ast.ArrayType:
		return map[string]any{"type": "array", "items": s.of(t, e.Elt)}
	case *ast.MapType:
		return map[string]any{"type": "object", "additionalProperties": s.of(t, e.Value)}
	case *ast.SelectorExpr: // time.Duration
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`}
	case *ast.Ident:
		if s[e.Name] != nil {
			return s.object(t, e.Name)
		}
		if kind := map[string]string{"string": "string", "bool": "boolean", "int": "integer", "int64": "integer", "float64": "number"}[e.Name]; kind != "" {
			return map[string]any{"type": kind}
		}
	}
	t.Fatalf("no schema for %#v", e)
	return nil
}

// docs/serving.schema.json is that of the types, for editors.
func TestSchema(t *testing.T) {
	root := readTypes(t).object(t, "Config")
	root["$schema"], root["title"] = "https://json-schema.org/draft/2020-12/schema", "Configuration of a Redoubt gateway"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(need.Root(t), "docs", "serving.schema.json")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is not that of the types (%v): run go test ./serve -run TestSchema -update", path, err)
	}
}

// origins are what Explain says of where values come from.
var origins = regexp.MustCompile(`(?m) *# [a-z0-9 ]+$`)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// Every piece of configuration in the documentation is taken by ReadConfig and by
// the schema. Pieces without models are given one.
func TestDocumentedConfigurations(t *testing.T) {
	docs := filepath.Join(need.Root(t), "docs")
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(docs, "serving.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for page, least := range map[string]int{"serving.md": 2, "identity.md": 3, "permissions.md": 1, "limits.md": 1, "sealing.md": 1, "registry.md": 2} {
		text, err := os.ReadFile(filepath.Join(docs, page))
		if err != nil {
			t.Fatal(err)
		}
		blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
		if len(blocks) < least {
			t.Errorf("%s: %d pieces", page, len(blocks))
		}
		for _, b := range blocks {
			piece := b[1]
			if !strings.Contains("\n"+piece, "\nmodels:") {
				piece += "\nmodels: [{name: a, path: a.onnx}]\n"
			}
			path := filepath.Join(t.TempDir(), "gateway.yaml")
			if err := os.WriteFile(path, []byte(piece), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := ReadConfig(path)
			if err != nil {
				t.Errorf("%s: %v\n%s", page, err, piece)
				continue
			}
			var value any
			if err := yaml.Unmarshal([]byte(piece), &value); err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(plain(t, value)); err != nil {
				t.Errorf("%s: the schema refuses it: %v\n%s", page, err, piece)
			}
			// What is shown can be read again, and means the same.
			shown, err := c.Explain()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(shown), 0o600); err != nil {
				t.Fatal(err)
			}
			again, err := ReadConfig(path)
			if err != nil {
				t.Fatalf("%s: %v\n%s", page, err, shown)
			}
			same, err := again.Explain()
			if err != nil || origins.ReplaceAllString(same, "") != origins.ReplaceAllString(shown, "") {
				t.Errorf("%s: what is shown means something else: %v\n%s", page, err, shown)
			}
		}
	}
}

// plain is a value as encoding/json would have read it.
func plain(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The schema refuses what ReadConfig does not know.
func TestSchemaIsStrict(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(need.Root(t), "docs", "serving.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"modles: []", "models: [{name: a, pth: x}]", "models: [{name: 1}]", "models: []\ngrace: soon", "models: []\nlisten: 8443"} {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(plain(t, value)) == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
