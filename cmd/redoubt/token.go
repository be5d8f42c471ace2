package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

func newToken(a *app) *cobra.Command {
	c := &client{}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "API tokens of accounts",
		Long: `API tokens of accounts.

A token is shown once, when it is made: the server keeps a hash. It never does
more than its account may, and with scopes it does less. What 'issue' prints is
another kind: a JSON Web Token that services behind the gateway can verify.`,
		Example: `  redoubt token create --account ci laptop
  redoubt token create --account ci --scope model:digits:invoke --days 30 nightly
  redoubt token list --account ci
  redoubt token revoke token:4f1c`,
	}
	c.flags(cmd)
	cmd.AddCommand(tokenCreate(c), tokenIssue(c), tokenList(c), tokenRevoke(c))
	return cmd
}

func tokenCreate(c *client) *cobra.Command {
	var account string
	var scopes []string
	var days int
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a token and print it, once", Args: cobra.ExactArgs(1),
		Example: `  TOKEN=$(redoubt token create --account ci laptop)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if days < 1 || days > 366 {
				return fmt.Errorf("--days %d: a token lives from 1 to 366 days", days)
			}
			in := map[string]any{"account": account, "name": args[0], "expires": time.Now().AddDate(0, 0, days)}
			if scopes != nil {
				in["scopes"] = scopes
			}
			var made struct{ Secret string }
			if err := c.do(cmd.Context(), "POST", "/tokens", in, &made); err != nil {
				return err
			}
			fmt.Println(made.Secret)
			return nil
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "whose token it is: a name or an id (default: your own)")
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "what it may be used for, model:NAME:ACTION, where either may be '*'; repeatable (default: all that the account may)")
	cmd.Flags().IntVar(&days, "days", 90, "how long it lives")
	return cmd
}

func tokenIssue(c *client) *cobra.Command {
	in := map[string]*string{"account": new(string), "level": new(string), "role": new(string)}
	cmd := &cobra.Command{
		Use: "issue MODEL", Short: "Issue a JSON Web Token for one model and an hour", Args: cobra.ExactArgs(1),
		Long: `Issue a JSON Web Token for one model and an hour, signed with the key in the
server's configuration (identity, jwt_key). The gateway takes it as it takes any
token of the account; services behind it that hold the key verify it themselves.
It is not kept, and cannot be revoked by itself: here it ends with the account and
with the role, elsewhere after its hour.`,
		Example: `  redoubt token issue loans --account ci --role model_user`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var made struct{ Token string }
			request := map[string]any{"model": args[0], "account": in["account"], "level": in["level"], "role": in["role"]}
			if err := c.do(cmd.Context(), "POST", "/jwts", request, &made); err != nil {
				return err
			}
			fmt.Println(made.Token)
			return nil
		},
	}
	cmd.Flags().StringVar(in["account"], "account", "", "whose token it is: a name or an id (default: your own)")
	cmd.Flags().StringVar(in["level"], "level", "invoke", "what it allows: read, invoke, deploy, delete or '*'")
	cmd.Flags().StringVar(in["role"], "role", "model_user", "by which role of the account's own")
	return cmd
}

func tokenList(c *client) *cobra.Command {
	var account string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the tokens of an account", Args: cobra.NoArgs, Example: `  redoubt token list --account ci`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all struct{ Tokens []identity.Token }
			if err := c.do(cmd.Context(), "GET", "/tokens?account="+url.QueryEscape(account), nil, &all); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(all.Tokens)
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tNAME\tSCOPES\tEXPIRES\tLAST USED")
			for _, k := range all.Tokens {
				used := "never"
				if !k.Used.IsZero() {
					used = k.Used.Format(time.DateTime)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, strings.Join(k.Scopes, ","), k.Expires.Format(time.DateOnly), used)
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "whose tokens: a name or an id (default: your own)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func tokenRevoke(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token, at once", Args: cobra.ExactArgs(1), Example: `  redoubt token revoke token:4f1c`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), "DELETE", "/tokens/"+url.PathEscape(args[0]), nil, nil)
		},
	}
}
