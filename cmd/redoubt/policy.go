package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
)

func newPolicy(a *app) *cobra.Command {
	c := &client{}
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Who may do what to which model",
		Long: `Who may do what to which model.

Grants give a role or a permission, everywhere, on one model or on a group of
models. Policies in Cedar add conditions, and forbid. Every change wants a
reason, for whoever reviews it. docs/permissions.md has the roles and examples.`,
		Example: `  redoubt policy grant alice --role model_developer --on model:loans --reason 'joins the team'
  redoubt policy grants
  redoubt policy preview office-hours rules.cedar
  redoubt policy set office-hours rules.cedar --reason 'decided on 3 May'`,
	}
	c.flags(cmd)
	cmd.AddCommand(policyGrant(c), policyGrants(c), policyRevoke(c), policyList(c), policyShow(c), policyPreview(c), policySet(c), policyDelete(c))
	return cmd
}

// reasoned adds the flag that every change wants.
func reasoned(cmd *cobra.Command, reason *string) *cobra.Command {
	cmd.Flags().StringVar(reason, "reason", "", "why, for whoever reviews it (required)")
	return cmd
}

func policyGrant(c *client) *cobra.Command {
	var reason, role, on, permission string
	var days int
	cmd := &cobra.Command{
		Use: "grant SUBJECT", Short: "Give a role or a permission to an account or to group:NAME", Args: cobra.ExactArgs(1),
		Example: `  redoubt policy grant alice --role model_user --on group:credit --days 30 --reason 'audit of May'
  redoubt policy grant group:vision --permission model:faces:invoke --reason 'their model'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if role != "" && on == "" {
				return errors.New("a role needs --on: model:NAME, group:NAME for a group of models, or '*'")
			}
			in := map[string]any{"subject": args[0], "reason": reason}
			for name, value := range map[string]string{"role": role, "on": on, "permission": permission} {
				if value != "" {
					in[name] = value
				}
			}
			if days > 0 {
				in["expires"] = time.Now().AddDate(0, 0, days)
			}
			var g policy.Grant
			if err := c.do(cmd.Context(), "POST", "/grants", in, &g); err != nil {
				return err
			}
			fmt.Println(g.ID)
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "model_user, model_developer, model_admin, auditor or security_admin")
	cmd.Flags().StringVar(&on, "on", "", "where the role holds: model:NAME, group:NAME or '*'")
	cmd.Flags().StringVar(&permission, "permission", "", "model:NAME:ACTION, where either may be '*'")
	cmd.Flags().IntVar(&days, "days", 0, "how long it holds (default: until it is taken away)")
	return reasoned(cmd, &reason)
}

func policyGrants(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "grants", Short: "List what was given, to whom, by whom and why", Args: cobra.NoArgs, Example: `  redoubt policy grants`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all struct{ Grants []policy.Grant }
			if err := c.do(cmd.Context(), "GET", "/grants", nil, &all); err != nil {
				return err
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tSUBJECT\tGIVES\tUNTIL\tBY\tREASON")
			for _, g := range all.Grants {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, g.Subject, gives(g), until(g.Expires), g.By, g.Reason)
			}
			return t.Flush()
		},
	}
}

func gives(g policy.Grant) string {
	if g.Role == "" {
		return g.Permission
	}
	return g.Role + " on " + g.On
}

func until(t time.Time) string {
	if t.IsZero() {
		return "taken away"
	}
	return t.Format(time.DateOnly)
}

func policyRevoke(c *client) *cobra.Command {
	var reason string
	return reasoned(&cobra.Command{
		Use: "revoke GRANT", Short: "Take a grant away", Args: cobra.ExactArgs(1),
		Example: `  redoubt policy revoke 7h3k... --reason 'left the team'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), "DELETE", "/grants/"+url.PathEscape(args[0])+"?reason="+url.QueryEscape(reason), nil, nil)
		},
	}, &reason)
}

// documents are the policies that hold.
type documents struct {
	Defaults  string
	Documents []policy.Document
}

func policyList(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List documents of policies", Args: cobra.NoArgs, Example: `  redoubt policy list`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all documents
			if err := c.do(cmd.Context(), "GET", "/policies", nil, &all); err != nil {
				return err
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tVERSION\tSINCE\tBY\tREASON")
			for _, d := range all.Documents {
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", d.ID, d.Version, d.Created.Format(time.DateTime), d.By, d.Reason)
			}
			return t.Flush()
		},
	}
}

func policyShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show [ID]", Short: "Print a document, or the policies that always hold", Args: cobra.MaximumNArgs(1),
		Example: `  redoubt policy show
  redoubt policy show office-hours > rules.cedar`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				var all documents
				err := c.do(cmd.Context(), "GET", "/policies", nil, &all)
				fmt.Print(all.Defaults)
				return err
			}
			var d policy.Document
			err := c.do(cmd.Context(), "GET", "/policies/"+url.PathEscape(args[0]), nil, &d)
			fmt.Print(d.Text)
			return err
		},
	}
}

// maxPolicy bounds a file of policies.
const maxPolicy = 1 << 20

func readPolicy(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err == nil && len(b) > maxPolicy {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxPolicy)
	}
	return string(b), err
}

func policyPreview(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "preview ID FILE", Short: "What a document would change, tried on the last month", Args: cobra.ExactArgs(2),
		Long: `What a document would change, tried on the last month.

It is tried on the calls of the last month, by the log, and on everything that
accounts could do with models today. Nothing is set.`,
		Example: `  redoubt policy preview office-hours rules.cedar`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPolicy(args[1])
			if err != nil {
				return err
			}
			var p admin.Preview
			if err := c.do(cmd.Context(), "POST", "/policies/"+url.PathEscape(args[0])+"/preview", map[string]string{"text": text}, &p); err != nil {
				return err
			}
			return printPreview(os.Stdout, &p)
		},
	}
}

func printPreview(w io.Writer, p *admin.Preview) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%d past calls, %d of accounts or models that are gone\n", p.Calls, p.Unknown)
	for _, part := range []struct {
		title string
		list  []admin.Difference
	}{{"calls of the last month", p.Past}, {"what accounts could do", p.Could}} {
		fmt.Fprintf(t, "%s: %d differ\n", part.title, len(part.list))
		for _, d := range part.list {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%d calls\n", d.Principal, d.Action, d.Model, turns(d), d.Calls)
		}
	}
	if p.Partial {
		fmt.Fprintln(t, "there are more accounts and models than were looked at")
	}
	return t.Flush()
}

// turns says what a difference is.
func turns(d admin.Difference) string {
	switch {
	case d.Now && !d.Then:
		return "allowed, would be refused"
	case !d.Now && d.Then:
		return "refused, would be allowed"
	}
	return "sees " + d.ClearanceNow + ", would see " + d.ClearanceThen
}

func policySet(c *client) *cobra.Command {
	var reason, match string
	cmd := &cobra.Command{
		Use: "set ID FILE", Short: "Set a document of policies", Args: cobra.ExactArgs(2),
		Example: `  redoubt policy set office-hours rules.cedar --reason 'decided on 3 May'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPolicy(args[1])
			if err != nil {
				return err
			}
			if match, err = c.current(cmd, args[0], match); err != nil {
				return err
			}
			tag, err := c.replace(cmd.Context(), "PUT", "/policies/"+url.PathEscape(args[0]), match, map[string]string{"text": text, "reason": reason}, nil)
			if err == nil {
				fmt.Println(tag)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&match, "match", "", "tag of the version that is replaced (default: whichever holds now)")
	return reasoned(cmd, &reason)
}

// current is the tag that was given, or that of the version that holds now; ""
// where there is none.
func (c *client) current(cmd *cobra.Command, id, match string) (string, error) {
	if match != "" {
		return match, nil
	}
	var all documents
	if err := c.do(cmd.Context(), "GET", "/policies", nil, &all); err != nil {
		return "", err
	}
	for _, d := range all.Documents {
		if d.ID == id {
			return admin.ETag(d), nil
		}
	}
	return "", nil
}

func policyDelete(c *client) *cobra.Command {
	var reason string
	return reasoned(&cobra.Command{
		Use: "delete ID", Short: "Take a document out of what is decided by", Args: cobra.ExactArgs(1),
		Example: `  redoubt policy delete office-hours --reason 'no longer needed'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			match, err := c.current(cmd, args[0], "")
			if err != nil {
				return err
			}
			_, err = c.replace(cmd.Context(), "DELETE", "/policies/"+url.PathEscape(args[0])+"?reason="+url.QueryEscape(reason), match, nil, nil)
			return err
		},
	}, &reason)
}
