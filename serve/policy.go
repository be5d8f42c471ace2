package serve

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

func (s *Server) openPolicy(ctx context.Context) error {
	var err error
	if s.rules, err = policy.New(s.cfg.policy(), policy.State{}); err != nil {
		return err
	}
	s.keeper, err = admin.Open(ctx, admin.Config{DB: s.db, Engine: s.rules, Log: s.log, People: s.people, Models: s.known, Past: s.past, Strip: s.strip})
	if err != nil {
		return err
	}
	// Not the caller's context: that bounds the start only.
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var followed sync.WaitGroup
	followed.Go(func() {
		s.keeper.Run(following, func(err error) { s.opt.Logger.Error("policies are not up to date", "error", err.Error()) })
	})
	s.later(func() error { stop(); followed.Wait(); return nil })
	return nil
}

// people are the accounts that reviews ask about.
func (s *Server) people(context.Context) ([]admin.Account, error) {
	var out []admin.Account
	for _, a := range s.who.Accounts() {
		out = append(out, admin.Account{Principal: redoubt.Principal{ID: a.ID, Name: a.Name, Roles: a.Roles, Groups: a.Groups}, Disabled: a.Disabled})
	}
	return out, nil
}

// strip takes a role away that an account has of its own.
func (s *Server) strip(ctx context.Context, by redoubt.Principal, account, role string) error {
	a, err := s.who.Account(account)
	if err != nil || !slices.Contains(a.Roles, role) {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(a.Roles), func(r string) bool { return r == role })
	return s.who.SetAccount(ctx, by, a.ID, rest, a.Groups, a.Disabled)
}

// known are the models that reviews ask about.
func (s *Server) known(context.Context) ([]*policy.Model, error) {
	var out []*policy.Model
	for _, m := range s.gateway.Models() {
		out = append(out, &m.Model)
	}
	return out, nil
}

// past is what this node's log knows since a time.
func (s *Server) past(ctx context.Context, since time.Time) iter.Seq2[redoubt.Event, error] {
	return audit.Read(ctx, s.auditDir(), audit.Filter{From: since})
}
