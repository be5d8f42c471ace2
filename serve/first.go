package serve

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// administrator is the name of the first one.
const administrator = "admin"

const securityAdmin = "security_admin"

// administers reports whether an account can: it has the role, of its own or by a
// grant, and a second factor, which an issuer asks for itself.
func administers(a identity.Account, granted []policy.Grant) bool {
	if a.Disabled || !a.SecondFactor && !strings.HasPrefix(a.ID, "oidc:") {
		return false
	}
	return slices.Contains(a.Roles, securityAdmin) || slices.ContainsFunc(granted, func(g policy.Grant) bool {
		group, isGroup := strings.CutPrefix(g.Subject, "group:")
		return g.Role == securityAdmin && (g.Expires.IsZero() || time.Now().Before(g.Expires)) &&
			(g.Subject == a.ID || isGroup && slices.Contains(a.Groups, group))
	})
}

// FirstAdministrator is the name of the account with which somebody can begin to
// administer, which is made where it is not there; "" when somebody can already, or
// could and was disabled: then it is decided who may, and whoever starts a server is
// not to become another.
func (s *Server) FirstAdministrator(ctx context.Context) (string, error) {
	granted, err := s.keeper.Grants(ctx)
	if err != nil {
		return "", err
	}
	there := false
	for _, a := range s.who.Accounts() {
		if administers(a, granted) {
			return "", nil
		}
		if a.Name != administrator || strings.HasPrefix(a.ID, "oidc:") {
			continue
		}
		if a.Disabled || !strings.HasPrefix(a.ID, "user:") || !slices.Contains(a.Roles, securityAdmin) {
			return "", nil
		}
		there = true
	}
	if !there {
		_, _, err = s.who.CreatePerson(ctx, starter(), administrator, []string{"model_admin", securityAdmin}, nil)
	}
	return administrator, err
}

// Enrolment is an address at which somebody of that name sets up sign-in, once and
// within three days. It makes the address of the one before worthless, and is a
// secret: show it to whoever started the server, and write it into no log.
func (s *Server) Enrolment(ctx context.Context, name string) (string, error) {
	a, err := s.who.Account(name)
	if err != nil {
		return "", err
	}
	secret, err := s.who.Reenrol(ctx, starter(), a.ID)
	if err != nil {
		return "", err
	}
	return s.cfg.Identity.Origin + "/auth/enrol#" + secret, nil
}

// starter is whoever started the server.
func starter() redoubt.Principal { return redoubt.Principal{ID: operator(), Method: "socket"} }
