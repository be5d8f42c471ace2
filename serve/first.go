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

// FirstAdministrator is the address at which the first administrator sets up
// sign-in, once and within three days; "" when somebody already can administer, or
// could and was disabled: then it is decided who may, and whoever reads what a
// server prints is not to become another. Every call before that makes the address
// of the one before worthless.
func (s *Server) FirstAdministrator(ctx context.Context) (string, error) {
	by := redoubt.Principal{ID: operator(), Method: "socket"}
	granted, err := s.keeper.Grants(ctx)
	if err != nil {
		return "", err
	}
	there := ""
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
		there = a.ID
	}
	var secret string
	if there != "" {
		secret, err = s.who.Reenrol(ctx, by, there)
	} else {
		_, secret, err = s.who.CreatePerson(ctx, by, administrator, []string{"model_admin", "security_admin"}, nil)
	}
	if err != nil {
		return "", err
	}
	return s.cfg.Identity.Origin + "/auth/enrol#" + secret, nil
}
