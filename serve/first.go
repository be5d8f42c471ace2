package serve

import (
	"context"
	"slices"

	"github.com/redoubt-ml/redoubt"
)

// administrator is the name of the first one.
const administrator = "admin"

// FirstAdministrator is the address at which the first administrator sets up
// sign-in, once and within three days; "" when somebody already can administer.
// Every call before that makes the address of the one before worthless.
func (s *Server) FirstAdministrator(ctx context.Context) (string, error) {
	by := redoubt.Principal{ID: operator(), Method: "socket"}
	there := ""
	for _, a := range s.who.Accounts() {
		if !a.Disabled && a.SecondFactor && slices.Contains(a.Roles, "security_admin") {
			return "", nil
		}
		if a.Name == administrator {
			there = a.ID
		}
	}
	var secret string
	var err error
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
