package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
)

// maxBundleFile bounds a signature or attestation that is pushed.
const maxBundleFile = 1 << 20

func newModel(a *app) *cobra.Command {
	c := &client{}
	cmd := &cobra.Command{
		Use:   "model",
		Short: "The models in a gateway's registry",
		Long: `The models in a gateway's registry.

A version is pushed with its signature and attestations, and calls are routed to it
only while it shows what the configuration asks for under registry. Deploying and
deleting need a fresh second factor; through the server's socket they do not.
docs/registry.md has the whole story.`,
		Example: `  redoubt model push net.onnx --name digits --signature net.onnx.sig --attestation net.scan --account ci
  redoubt model list
  redoubt model show digits
  redoubt model promote digits 2 production
  redoubt model canary digits 3 --share 0.1
  redoubt model shadow digits 3
  redoubt model alias digits champion 2
  redoubt model rollback digits
  redoubt model delete digits 1`,
	}
	c.flags(cmd)
	cmd.AddCommand(modelPush(a, c), modelList(c), modelShow(c), modelPromote(c), modelAlias(c), modelCanary(c), modelShadow(c), modelRollback(c), modelDelete(c))
	return cmd
}

// deployment is what push prints as JSON.
type deployment struct {
	Model    string   `json:"model"`
	Version  string   `json:"version"`
	Stage    string   `json:"stage"`
	Endpoint string   `json:"endpoint"`
	Token    string   `json:"token,omitempty"`
	Digest   string   `json:"digest"`
	Level    string   `json:"level"`
	Features []string `json:"features"`
	Refused  string   `json:"refused,omitempty"`
}

func modelPush(a *app, c *client) *cobra.Command {
	var name, stage, account string
	var signatures, attestations []string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "push FILE --name NAME --signature FILE", Short: "Push a version of a model, and print where it is called",
		Long: `Push a version of a model, and print where it is called, with what token, what is
seen of its answers and what guards it.

Exit code 1: the version was not admitted, and the message names the requirement. A
token is made with --account, for the calls of this model only.`,
		Example: `  redoubt model push net.onnx --name digits --signature net.onnx.sig --attestation net.scan --attestation net.assessment --account ci`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				return errors.New("--name is missing: say what the model is called")
			}
			if st, err := os.Stat(args[0]); err == nil && st.IsDir() {
				return fmt.Errorf("%s is a folder, and a version is one ONNX file: name that", args[0])
			}
			in := map[string]any{"file": filepath.Base(args[0])}
			for key, files := range map[string][]string{"signatures": signatures, "attestations": attestations} {
				texts := []string{}
				for _, file := range files {
					text, err := readBundle(file)
					if err != nil {
						return err
					}
					texts = append(texts, text)
				}
				in[key] = texts
			}
			if stage != "" {
				in["stage"] = stage
			}
			digest, err := redoubt.DigestFile(args[0])
			if err != nil {
				return err
			}
			in["digest"] = digest
			model := "/models/" + url.PathEscape(name)
			if err := c.upload(cmd.Context(), model+"/weights/"+string(digest), args[0], newProgress(a.quiet)); err != nil {
				return admission(err)
			}
			var d deployment
			if err := c.do(cmd.Context(), "POST", model+"/versions", in, &d); err != nil {
				return admission(err)
			}
			if account != "" {
				if d.Token, err = c.tokenFor(cmd, account, name); err != nil {
					return fmt.Errorf("version %s is pushed, and there is no token: %w", d.Version, err)
				}
			}
			if err := d.print(asJSON); err != nil {
				return err
			}
			if d.Refused != "" {
				return fmt.Errorf("version %s is pushed and not routed to: %s: %w", d.Version, d.Refused, redoubt.ErrGate)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&name, "name", "", "the model's name")
	fl.StringArrayVar(&signatures, "signature", nil, "bundle that 'redoubt sign' wrote; repeatable")
	fl.StringArrayVar(&attestations, "attestation", nil, "bundle that 'redoubt attest' wrote; repeatable")
	fl.StringVar(&stage, "stage", "", "dev, staging or production (default: production if nothing is there, else staging)")
	fl.StringVar(&account, "account", "", "make a token of this account, for calls of this model")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// readBundle is a file in base64.
func readBundle(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBundleFile+1))
	if err == nil && len(b) > maxBundleFile {
		err = fmt.Errorf("%s is larger than %d bytes: it is no signature or attestation of a file", path, maxBundleFile)
	}
	return base64.StdEncoding.EncodeToString(b), err
}

// admission has a refusal of the registry end with code 1.
func admission(err error) error {
	if strings.HasPrefix(err.Error(), "not admitted: ") {
		return coded{err, redoubt.ErrGate}
	}
	return err
}

// tokenFor makes a token for the calls of a model.
func (c *client) tokenFor(cmd *cobra.Command, account, model string) (string, error) {
	in := map[string]any{"account": account, "name": "model " + model, "scopes": []string{"model:" + model + ":invoke"}, "expires": time.Now().AddDate(0, 0, 90)}
	var made struct{ Secret string }
	err := c.do(cmd.Context(), "POST", "/tokens", in, &made)
	return made.Secret, err
}

func (d *deployment) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(d)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"model", d.Model}, {"version", d.Version + " (" + d.Stage + ")"}, {"endpoint", d.Endpoint}, {"token", d.Token},
		{"digest", "sha256:" + d.Digest}, {"level", d.Level}, {"features", strings.Join(d.Features, ", ")},
	} {
		if line[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", line[0], line[1])
		}
	}
	return t.Flush()
}

func modelList(c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the models that are offered, configured ones too", Args: cobra.NoArgs, Example: `  redoubt model list`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all struct {
				Models []struct {
					Name     string `json:"name"`
					Versions []struct {
						Version string `json:"version"`
						Digest  string `json:"digest"`
						Ready   bool   `json:"ready"`
					} `json:"versions"`
				} `json:"models"`
			}
			if err := c.do(cmd.Context(), "GET", "/models", nil, &all); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(all.Models)
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "MODEL\tVERSION\tREADY\tDIGEST")
			for _, m := range all.Models {
				for _, v := range m.Versions {
					fmt.Fprintf(t, "%s\t%s\t%v\t%.12s\n", m.Name, v.Version, v.Ready, v.Digest)
				}
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func modelShow(c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a model's versions, and why any is not routed to", Args: cobra.ExactArgs(1), Example: `  redoubt model show digits`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var m json.RawMessage
			if err := c.do(cmd.Context(), "GET", "/models/"+url.PathEscape(args[0]), nil, &m); err != nil {
				return err
			}
			if asJSON {
				fmt.Println(string(m))
				return nil
			}
			return showModel(m)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showModel(b []byte) error {
	var m struct {
		Versions []struct {
			Version, Stage, Digest, Refused string
			Pushed, Until                   time.Time
			Routed                          bool
		}
		Aliases map[string]string
		Canary  *struct {
			Version string
			Share   float64
		}
		Shadow string
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VERSION\tSTAGE\tPUSHED\tDIGEST\tROUTED\tALSO")
	for _, v := range m.Versions {
		var also []string
		for alias, to := range m.Aliases {
			if to == v.Version {
				also = append(also, alias)
			}
		}
		if m.Canary != nil && m.Canary.Version == v.Version {
			also = append(also, fmt.Sprintf("canary of %v", m.Canary.Share))
		}
		if m.Shadow == v.Version {
			also = append(also, "shadow")
		}
		routed := "no"
		switch {
		case v.Refused != "":
			routed = "no: " + v.Refused
		case v.Routed && v.Until.IsZero():
			routed = "yes"
		case v.Routed:
			routed = "until " + v.Until.Local().Format(time.DateTime)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.12s\t%s\t%s\n", v.Version, v.Stage, v.Pushed.Local().Format(time.DateTime), v.Digest, routed, strings.Join(also, ", "))
	}
	return t.Flush()
}

func modelPromote(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "promote NAME VERSION STAGE", Short: "Move a version to dev, staging, production or archived", Args: cobra.ExactArgs(3),
		Example: `  redoubt model promote digits 2 production`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/models/" + url.PathEscape(args[0]) + "/versions/" + url.PathEscape(args[1]) + "/stage"
			return admitted(c.do(cmd.Context(), "PUT", path, map[string]string{"stage": args[2]}, nil))
		},
	}
}

// admitted is admission of an error that may be nil.
func admitted(err error) error {
	if err == nil {
		return nil
	}
	return admission(err)
}

func modelAlias(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "alias NAME ALIAS [VERSION]", Short: "Give a version a further name, or without one take the name away", Args: cobra.RangeArgs(2, 3),
		Example: `  redoubt model alias digits champion 2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/models/" + url.PathEscape(args[0]) + "/aliases/" + url.PathEscape(args[1])
			if len(args) == 2 {
				return c.do(cmd.Context(), "DELETE", path, nil, nil)
			}
			return c.do(cmd.Context(), "PUT", path, map[string]string{"version": args[2]}, nil)
		},
	}
}

func modelCanary(c *client) *cobra.Command {
	var share float64
	cmd := &cobra.Command{
		Use: "canary NAME [VERSION]", Short: "Have a version answer a share of the callers, or without one end that", Args: cobra.RangeArgs(1, 2),
		Example: `  redoubt model canary digits 3 --share 0.1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/models/" + url.PathEscape(args[0]) + "/canary"
			if len(args) == 1 {
				return c.do(cmd.Context(), "DELETE", path, nil, nil)
			}
			return c.do(cmd.Context(), "PUT", path, map[string]any{"version": args[1], "share": share}, nil)
		},
	}
	cmd.Flags().Float64Var(&share, "share", 0.05, "share of the callers, above 0 and at most 1")
	return cmd
}

func modelShadow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "shadow NAME [VERSION]", Short: "Have a version answer unheard, or without one end that", Args: cobra.RangeArgs(1, 2),
		Long: `Have a version answer unheard, or without one end that. Where its answers differ is
counted in the metric redoubt_gateway_shadow_total.`,
		Example: `  redoubt model shadow digits 3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/models/" + url.PathEscape(args[0]) + "/shadow"
			if len(args) == 1 {
				return c.do(cmd.Context(), "DELETE", path, nil, nil)
			}
			return c.do(cmd.Context(), "PUT", path, map[string]string{"version": args[1]}, nil)
		},
	}
}

func modelRollback(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "rollback NAME", Short: "Put the version back into production that was there before, and print it", Args: cobra.ExactArgs(1),
		Example: `  redoubt model rollback digits`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var v struct{ Version string }
			if err := c.do(cmd.Context(), "POST", "/models/"+url.PathEscape(args[0])+"/rollback", nil, &v); err != nil {
				return admission(err)
			}
			fmt.Println(v.Version)
			return nil
		},
	}
}

func modelDelete(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME [VERSION]", Short: "Delete a version, or without one the whole model", Args: cobra.RangeArgs(1, 2),
		Example: `  redoubt model delete digits 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/models/" + url.PathEscape(args[0])
			if len(args) == 2 {
				path += "/versions/" + url.PathEscape(args[1])
			}
			return c.do(cmd.Context(), "DELETE", path, nil, nil)
		},
	}
}
