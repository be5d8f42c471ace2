package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve"
)

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration of a gateway",
		Long: `Check and show the configuration of a gateway, as 'redoubt serve --config FILE'
would read it. docs/serving.md has every setting.`,
		Example: `  redoubt config validate gateway.yaml
  redoubt config validate gateway.yaml --deep
  redoubt config show gateway.yaml`,
		Annotations: map[string]string{ownConfig: ""},
		Args:        cobra.NoArgs,
		RunE:        func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configValidate(), a.configShow())
	return cmd
}

func (a *app) configValidate() *cobra.Command {
	deep := false
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Say whether a gateway would start with a file",
		Long: `Say whether a gateway would start with a file: exit code 0, or 2 and one sentence
that names the key and the remedy. With --deep it opens what the file names, too:
models, feature schemas, secrets, certificates, upstream servers. It writes
nothing, and listens at no address.`,
		Example: `  redoubt config validate gateway.yaml
  redoubt config validate gateway.yaml --deep`,
		Annotations: map[string]string{ownConfig: ""},
		Args:        cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := serve.ReadConfig(args[0])
			if err != nil {
				return err
			}
			if deep {
				err = a.tryConfig(cmd, cfg)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			fmt.Printf("%s: ok, %d models\n", args[0], len(cfg.Models))
			return nil
		},
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "open models, schemas, secrets and certificates, and ask upstream servers")
	return cmd
}

func (a *app) tryConfig(cmd *cobra.Command, cfg *serve.Config) error {
	var rt *ort.Runtime
	if cfg.Local() {
		var err error
		if rt, err = ort.Open(a.ort); err != nil {
			return err
		}
	}
	return cfg.Try(cmd.Context(), rt)
}

func (a *app) configShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Print the whole configuration, and where each setting comes from",
		Long: `Print the whole configuration as YAML: what the file says with the line that says
it, and what holds where the file is silent. Settings that neither it nor a default
sets are left out. Secrets are named, not shown.`,
		Example:     `  redoubt config show gateway.yaml`,
		Annotations: map[string]string{ownConfig: ""},
		Args:        cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := serve.ReadConfig(args[0])
			if err != nil {
				return err
			}
			text, err := cfg.Explain()
			fmt.Print(text)
			return err
		},
	}
}
