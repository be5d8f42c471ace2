package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/redoubt-ml/redoubt/internal/strictyaml"
)

// maxConfig bounds a configuration file.
const maxConfig = 64 << 10

// ownConfig marks verbs whose configuration file is not one of flags by name.
const ownConfig = "own-config"

// configure fills the flags that were not given: from the environment, then
// from the configuration file, whose keys are the flags' names. A key that is
// no flag of the verb is an error, except "model", which is the verb's
// argument.
func (a *app) configure(cmd *cobra.Command, args []string) error {
	if path := os.Getenv("REDOUBT_CONFIG"); a.config == "" {
		a.config = path
	}
	values := map[string]any{}
	if _, own := cmd.Annotations[ownConfig]; a.config != "" && !own {
		var err error
		if values, err = readConfig(a.config); err != nil {
			return err
		}
	}
	delete(values, "model")
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if cmd.Flags().Lookup(key) == nil || key == "config" {
			return fmt.Errorf("%s: '%s' has no setting %q: see '%s --help'", a.config, cmd.CommandPath(), key, cmd.CommandPath())
		}
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil || f.Name == "config" || f.Name == "help" {
			return
		}
		name := "REDOUBT_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok && f.Name != "ort" { // the library's search looks there itself
			failed = set(cmd, f.Name, v, name)
		} else if v, ok := values[f.Name]; ok {
			for _, s := range texts(v) {
				failed = errors.Join(failed, set(cmd, f.Name, s, a.config))
			}
		}
	})
	return failed
}

func set(cmd *cobra.Command, flag, value, from string) error {
	if err := cmd.Flags().Set(flag, value); err != nil {
		return fmt.Errorf("%s: %s: %w", from, flag, err)
	}
	return nil
}

// texts is a YAML value as the flag would be written, one text a list element.
func texts(v any) []string {
	if list, ok := v.([]any); ok {
		var out []string
		for _, e := range list {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return []string{fmt.Sprint(v)}
}

func readConfig(path string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("read configuration: %s is larger than %d bytes", path, maxConfig)
	}
	values := map[string]any{}
	if err := strictyaml.Unmarshal(b, &values); err != nil {
		return nil, fmt.Errorf("read configuration %s: %s", path, yaml.FormatError(err, false, false))
	}
	return values, nil
}

// modelArg is the verb's model: its argument, or "model" of the configuration.
func (a *app) modelArg(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	if a.config != "" {
		values, err := readConfig(a.config)
		if err != nil {
			return "", err
		}
		if m, ok := values["model"].(string); ok {
			return m, nil
		}
	}
	return "", errors.New("no model given: name an ONNX file")
}
