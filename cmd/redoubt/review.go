package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
)

func newReview(a *app) *cobra.Command {
	c := &client{}
	cmd := &cobra.Command{
		Use:   "review",
		Short: "Ask whether what was given is still needed",
		Long: `Ask whether what was given is still needed.

A review of a model lists every grant on it and every role that an account has,
beside who used it and when, by the log, and what speaks against it: never used,
wider than its use, given to an account that is disabled. Each is kept, taken away
or narrowed, with a reason. What was done by other means is listed under them.`,
		Example: `  redoubt review access loans
  redoubt review open loans --reason 'second quarter'
  redoubt review show 4f1c...
  redoubt review judge 4f1c... 7h3k... revoke --reason 'not used since March'
  redoubt review plan loans --days 90 --reason 'each quarter'`,
	}
	c.flags(cmd)
	cmd.AddCommand(reviewAccess(c), reviewOpen(c), reviewList(c), reviewShow(c), reviewJudge(c), reviewPlan(c))
	return cmd
}

func reviewAccess(c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "access MODEL", Short: "List who can do what with a model", Args: cobra.ExactArgs(1),
		Long: `List who can do what with a model: every account that is not disabled, decided
now by all roles, grants and policies, as if a second factor were shown.
Certificates and programs of an issuer have no account, and are not listed: a
review shows what they did.`,
		Example: `  redoubt review access loans`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var all struct {
				Access []struct {
					Account string          `json:"account"`
					Name    string          `json:"name"`
					Actions []policy.Action `json:"actions"`
					By      []string        `json:"by"`
				} `json:"access"`
			}
			if err := c.do(cmd.Context(), "GET", "/models/"+url.PathEscape(args[0])+"/access", nil, &all); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(all.Access)
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tID\tMAY\tBY")
			for _, x := range all.Access {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Name, x.Account, joined(x.Actions), strings.Join(x.By, ", "))
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func joined(actions []policy.Action) string {
	var out []string
	for _, a := range actions {
		out = append(out, string(a))
	}
	return strings.Join(out, ", ")
}

func reviewOpen(c *client) *cobra.Command {
	var reason string
	var days int
	cmd := &cobra.Command{
		Use: "open MODEL", Short: "Begin a review of a model", Args: cobra.ExactArgs(1),
		Example: `  redoubt review open loans --days 180 --reason 'half-year'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var r admin.Review
			if err := c.do(cmd.Context(), "POST", "/reviews", map[string]any{"model": args[0], "days": days, "reason": reason}, &r); err != nil {
				return err
			}
			return printReview(os.Stdout, r)
		},
	}
	cmd.Flags().IntVar(&days, "days", 90, "how far back use is looked for")
	return reasoned(cmd, &reason)
}

// allReviews are the reviews and plans of a server.
type allReviews struct {
	Reviews []admin.Review
	Plans   []admin.Plan
}

func reviewList(c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List reviews, and when the next are due", Args: cobra.NoArgs, Example: `  redoubt review list --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all allReviews
			if err := c.do(cmd.Context(), "GET", "/reviews", nil, &all); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(all)
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tMODEL\tOPENED\tDECIDED")
			for _, r := range all.Reviews {
				decided := 0
				for _, i := range r.Items {
					if i.Verdict != "" {
						decided++
					}
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%d of %d\n", r.ID, r.Model, r.Opened.Format(time.DateOnly), decided, len(r.Items))
			}
			for _, p := range all.Plans {
				fmt.Fprintf(t, "due %s\t%s\tevery %d days\t\n", p.Next.Format(time.DateOnly), p.Model, p.Days)
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func reviewShow(c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show REVIEW", Short: "Print a review", Args: cobra.ExactArgs(1), Example: `  redoubt review show 4f1c... --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var all allReviews
			if err := c.do(cmd.Context(), "GET", "/reviews", nil, &all); err != nil {
				return err
			}
			for _, r := range all.Reviews {
				if r.ID == args[0] && asJSON {
					return json.NewEncoder(os.Stdout).Encode(r)
				}
				if r.ID == args[0] {
					return printReview(os.Stdout, r)
				}
			}
			return fmt.Errorf("there is no review %q: see 'redoubt review list'", args[0])
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func printReview(w io.Writer, r admin.Review) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "review %s of %s, use since %s\n", r.ID, r.Model, r.Since.Format(time.DateOnly))
	fmt.Fprintln(t, "GRANT\tSUBJECT\tGIVES\tUSED\tDOUBTS\tVERDICT")
	for _, i := range r.Items {
		verdict := string(i.Verdict)
		if verdict == "" {
			verdict = "open"
			if i.Narrower != "" {
				verdict += ", may be narrowed to " + i.Narrower
			}
		}
		what := gives(i.Grant)
		if i.Held != "" {
			what = i.Grant.Role + ", by the " + i.Held
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", i.Grant.ID, i.Grant.Subject, what, used(i.Used), strings.Join(i.Doubts, ", "), verdict)
	}
	for _, u := range r.Others {
		fmt.Fprintf(t, "by no grant\t%s\t\t%s\t\t\n", cmp.Or(u.Principal, "nobody"), used(u.Used))
	}
	return t.Flush()
}

func used(when map[policy.Action]time.Time) string {
	var out []string
	for action, at := range when {
		out = append(out, fmt.Sprintf("%s %s", action, at.Format(time.DateOnly)))
	}
	slices.Sort(out)
	if out == nil {
		return "never"
	}
	return strings.Join(out, ", ")
}

func reviewJudge(c *client) *cobra.Command {
	var reason string
	return reasoned(&cobra.Command{
		Use: "judge REVIEW GRANT keep|revoke|narrow", Short: "Decide about a grant", Args: cobra.ExactArgs(3),
		Example: `  redoubt review judge 4f1c... 7h3k... narrow --reason 'only calls it'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/reviews/" + url.PathEscape(args[0]) + "/grants/" + url.PathEscape(args[1])
			var r admin.Review
			if err := c.do(cmd.Context(), "POST", path, map[string]string{"verdict": args[2], "reason": reason}, &r); err != nil {
				return err
			}
			return printReview(os.Stdout, r)
		},
	}, &reason)
}

func reviewPlan(c *client) *cobra.Command {
	var reason string
	var days int
	cmd := &cobra.Command{
		Use: "plan MODEL", Short: "Have a model reviewed again and again", Args: cobra.ExactArgs(1),
		Example: `  redoubt review plan loans --days 90 --reason 'each quarter'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), "PUT", "/models/"+url.PathEscape(args[0])+"/reviews", map[string]any{"days": days, "reason": reason}, nil)
		},
	}
	cmd.Flags().IntVar(&days, "days", 90, "between reviews; 0 ends the plan")
	return reasoned(cmd, &reason)
}
