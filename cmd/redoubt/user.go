package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

func newUser(a *app) *cobra.Command {
	c := &client{}
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Accounts of people and services",
		Long: `Accounts of people and services.

The server on this machine is administered by the user who runs it, through a
socket in its data folder; any other with --server, by whoever signed in there
with 'redoubt login'. Who adds a person gets a link for that person, who sets up
sign-in with it: nobody ever knows another's password.`,
		Example: `  redoubt user add alice --role model_user
  redoubt user add --service ci --role model_user
  redoubt user list
  redoubt user disable alice`,
	}
	c.flags(cmd)
	cmd.AddCommand(userAdd(c), userList(c), userSet(c), userSwitch(c, "disable", true), userSwitch(c, "enable", false), userEnrol(c), userRemove(c))
	return cmd
}

// enrolled is an account that was made.
type enrolled struct {
	identity.Account
	Enrolment string `json:"enrolment"`
}

// why adds the flag of what the log keeps beside a change.
func why(cmd *cobra.Command, reason *string) *cobra.Command {
	cmd.Flags().StringVar(reason, "reason", "", "why, for whoever reviews it")
	return cmd
}

func userAdd(c *client) *cobra.Command {
	var service bool
	var reason string
	var roles, groups []string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a person, or a service", Args: cobra.ExactArgs(1),
		Example: `  redoubt user add alice --role model_developer --group vision
  redoubt user add --service ci --role model_user --reason 'nightly evaluation'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := "person"
			if service {
				kind = "service"
			}
			var made enrolled
			in := map[string]any{"kind": kind, "name": args[0], "roles": orEmpty(roles), "groups": orEmpty(groups), "reason": reason}
			if err := c.do(cmd.Context(), "POST", "/accounts", in, &made); err != nil {
				return err
			}
			return made.print(os.Stdout)
		},
	}
	cmd.Flags().BoolVar(&service, "service", false, "a program, which has tokens only")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "model_user, model_developer, model_admin, auditor or security_admin, for all models; repeatable")
	cmd.Flags().StringArrayVar(&groups, "group", nil, "group, which policies and grants may speak of; repeatable")
	return why(cmd, &reason)
}

func (e *enrolled) print(w io.Writer) error {
	if e.Enrolment == "" {
		_, err := fmt.Fprintf(w, "%s\n", e.ID)
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n%s\n", e.ID, e.Enrolment)
	return err
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func userList(c *client) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List accounts", Args: cobra.NoArgs, Example: `  redoubt user list --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all struct{ Accounts []identity.Account }
			if err := c.do(cmd.Context(), "GET", "/accounts", nil, &all); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(all.Accounts)
			}
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tID\tROLES\tGROUPS\tSECOND FACTOR\tSTATE")
			for _, u := range all.Accounts {
				state := "enabled"
				if u.Disabled {
					state = "disabled"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%v\t%s\n", u.Name, u.ID, strings.Join(u.Roles, ","), strings.Join(u.Groups, ","), u.SecondFactor, state)
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func userSet(c *client) *cobra.Command {
	var reason string
	var roles, groups []string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Give an account other roles or groups", Args: cobra.ExactArgs(1),
		Example: `  redoubt user set alice --role model_user --role auditor --reason 'audit of May'
  redoubt user set alice --role none`,
		RunE: func(cmd *cobra.Command, args []string) error {
			change := map[string]any{}
			for name, list := range map[string][]string{"roles": roles, "groups": groups} {
				switch {
				case len(list) == 1 && list[0] == "none":
					change[name] = []string{}
				case list != nil:
					change[name] = list
				}
			}
			if len(change) == 0 {
				return fmt.Errorf("nothing to set: give --role or --group, or 'none' for either")
			}
			change["reason"] = reason
			return c.do(cmd.Context(), "PATCH", "/accounts/"+url.PathEscape(args[0]), change, nil)
		},
	}
	cmd.Flags().StringArrayVar(&roles, "role", nil, "the roles from now on, or 'none'; repeatable")
	cmd.Flags().StringArrayVar(&groups, "group", nil, "the groups from now on, or 'none'; repeatable")
	return why(cmd, &reason)
}

func userSwitch(c *client, verb string, disabled bool) *cobra.Command {
	var reason string
	return why(&cobra.Command{
		Use: verb + " NAME", Short: strings.ToUpper(verb[:1]) + verb[1:] + " an account", Args: cobra.ExactArgs(1),
		Example: "  redoubt user " + verb + " alice",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), "PATCH", "/accounts/"+url.PathEscape(args[0]), map[string]any{"disabled": disabled, "reason": reason}, nil)
		},
	}, &reason)
}

func userEnrol(c *client) *cobra.Command {
	var reason string
	return why(&cobra.Command{
		Use: "enrol NAME", Short: "Take a person's password and factors away and give a new link", Args: cobra.ExactArgs(1),
		Long: `Take a person's password and factors away and give a new link.

For somebody who lost them, and for "admin", the first administrator of a server
without a terminal. Make sure who asks: this is how accounts are taken over.`,
		Example: `  redoubt user enrol alice --reason 'lost her phone, called her back'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var made enrolled
			if err := c.do(cmd.Context(), "POST", "/accounts/"+url.PathEscape(args[0])+"/enrolment?reason="+url.QueryEscape(reason), nil, &made); err != nil {
				return err
			}
			return made.print(os.Stdout)
		},
	}, &reason)
}

func userRemove(c *client) *cobra.Command {
	var reason string
	return why(&cobra.Command{
		Use: "remove NAME", Short: "Disable an account of somebody who left, and take its roles, groups and grants away", Args: cobra.ExactArgs(1),
		Example: `  redoubt user remove alice --reason 'left the company'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var gone struct {
				Account string
				Grants  []json.RawMessage
			}
			if err := c.do(cmd.Context(), "DELETE", "/accounts/"+url.PathEscape(args[0])+"?reason="+url.QueryEscape(reason), nil, &gone); err != nil {
				return err
			}
			fmt.Printf("%s: disabled, %d grants taken away\n", gone.Account, len(gone.Grants))
			return nil
		},
	}, &reason)
}
