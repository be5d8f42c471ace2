package serve

import (
	"context"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve/gateway"
)

// Explain is the whole configuration as YAML, after [Config.Check], in which each
// line says where its value comes from: a line of the file, or a default.
func (c *Config) Explain() (string, error) {
	shown := *c
	shown.Models = append([]Model(nil), c.Models...)
	for i := range shown.Models {
		if c.lines[fmt.Sprintf("$.models[%d].versions[0].version", i)] == 0 {
			shown.Models[i].Versions = nil // made of the path beside it
		}
	}
	b, err := yaml.MarshalWithOptions(&shown, yaml.OmitEmpty(), yaml.IndentSequence(true))
	if err != nil {
		return "", fmt.Errorf("show the configuration: %w", err)
	}
	lines := strings.Split(string(b), "\n")
	err = eachValue(b, func(path string, line int) {
		origin := "default"
		if from := c.lines[path]; from > 0 {
			origin = fmt.Sprintf("line %d", from)
		}
		lines[line-1] = fmt.Sprintf("%-48s # %s", lines[line-1], origin)
	})
	return strings.Join(lines, "\n"), err
}

// eachValue calls do for every value of a YAML document that holds no others,
// with its path, such as $.models[0].name, and its line.
func eachValue(document []byte, do func(path string, line int)) error {
	file, err := parser.ParseBytes(document, 0)
	if err != nil {
		return err
	}
	for _, d := range file.Docs {
		ast.Walk(visitor(do), d)
	}
	return nil
}

type visitor func(path string, line int)

func (v visitor) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.MappingValueNode:
		if _, ok := n.Value.(ast.ScalarNode); ok {
			v(n.Value.GetPath(), n.Value.GetToken().Position.Line)
		}
	case *ast.SequenceNode:
		for _, e := range n.Values {
			if _, ok := e.(ast.ScalarNode); ok {
				v(e.GetPath(), e.GetToken().Position.Line)
			}
		}
	}
	return v
}

// tryIdentity opens what identity and audit name.
func (c *Config) tryIdentity() error {
	settings := c.identitySettings()
	if err := c.openIdentity(&settings); err != nil {
		return err
	}
	if err := settings.Check(); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	for _, from := range c.Audit.Watches {
		if _, err := c.verifier(from); err != nil {
			return fmt.Errorf("audit.watches: %w", err)
		}
	}
	_, err := c.remotes()
	return err
}

// Try opens what a server would: models with their schemas, secrets,
// certificates; and it asks upstream servers about themselves. It reports the
// first thing that a start would fail with, and writes nothing.
func (c *Config) Try(ctx context.Context, rt *ort.Runtime) error {
	for key, source := range c.secrets() {
		if _, err := c.secret(key, source); err != nil {
			return err
		}
	}
	if c.TLS.Certificate != "" {
		if _, err := (&Server{}).secure(c); err != nil {
			return err
		}
	}
	if err := c.tryIdentity(); err != nil {
		return err
	}
	p := &plan{cfg: c}
	defer p.drop()
	if err := (&Server{opt: Options{Runtime: rt}}).openModels(ctx, p); err != nil {
		return err
	}
	if _, _, err := c.admission(); err != nil {
		return err
	}
	terms, err := c.terms()
	if err != nil {
		return err
	}
	_, err = gateway.NewOffer(ctx, terms, p.configured)
	return err
}
