package serve

import (
	"context"
	"slices"

	"github.com/redoubt-ml/redoubt"
)

// administrator is the name of the first one.
const administrator = "admin"

// FirstAdministrator is the name of the account with which somebody can begin to
// administer, which is made where it is not there; "" when somebody can already.
func (s *Server) FirstAdministrator(ctx context.Context) (string, error) {
	there := false
	for _, a := range s.who.Accounts() {
		if !a.Disabled && a.SecondFactor && slices.Contains(a.Roles, "security_admin") {
			return "", nil
		}
		there = there || a.Name == administrator
	}
	if there {
		return administrator, nil
	}
	_, _, err := s.who.CreatePerson(ctx, starter(), administrator, []string{"model_admin", "security_admin"}, nil)
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
