package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/store"
)

// Plan has the permissions on a model reviewed again and again.
type Plan struct {
	Model string    `json:"model"`
	Days  int       `json:"days"` // between reviews, from 1
	Next  time.Time `json:"next"` // when one is due
}

// Review asks about everything that was given on a model whether it is still
// needed.
type Review struct {
	ID     string    `json:"id"`
	Model  string    `json:"model"`
	Opened time.Time `json:"opened"`
	By     string    `json:"by"`
	Since  time.Time `json:"since"` // use was looked for from here on
	Items  []Item    `json:"items"`
	// Others did what no item gives: by the rule for a certificate, by what an
	// issuer says in a token, by a custom policy, by a grant that was taken away
	// since, or because the model is open.
	Others []Use `json:"others,omitempty"`
}

// Use is what a principal did to a model, and when last; "" is nobody.
type Use struct {
	Principal string                      `json:"principal"`
	Used      map[policy.Action]time.Time `json:"used"`
}

// Who gave a role that an account has of its own.
const (
	ByAccount = "account" // an administrator, to the account
	ByIssuer  = "issuer"  // the identity provider, at the last login
)

// Item is a grant under review, or a role that an account has of its own, which
// is shown as the grant that it amounts to.
type Item struct {
	Grant policy.Grant `json:"grant"`
	// Held is [ByAccount] or [ByIssuer] for a role of an account's own.
	Held string `json:"held,omitempty"`
	// Actions are what the grant permits on the model; Used is when each was last
	// done by whom it is given to, without those that never were.
	Actions []policy.Action             `json:"actions"`
	Used    map[policy.Action]time.Time `json:"used,omitempty"`
	// Doubts are what speaks against it: "unused", "disabled", "expired",
	// "nobody" (a group without members or an account that is gone) and "wider
	// than use".
	Doubts []string `json:"doubts,omitempty"`
	// Narrower is the role that use would need, where the role is wider.
	Narrower string `json:"narrower,omitempty"`

	Verdict Verdict   `json:"verdict,omitempty"`
	By      string    `json:"by,omitempty"` // the reviewer
	At      time.Time `json:"at,omitzero"`
	Reason  string    `json:"reason,omitempty"`
}

// Verdict is what a reviewer decides about a grant.
type Verdict string

// The verdicts.
const (
	Keep   Verdict = "keep"
	Revoke Verdict = "revoke"
	Narrow Verdict = "narrow" // to the role that use would need
)

// SetPlan has a model reviewed every so many days, beginning that many from now;
// 0 days ends that.
func (k *Keeper) SetPlan(ctx context.Context, ch Change, model string, days int) error {
	if err := k.decide(ctx, &ch, policy.Create, policy.Resource{Kind: policy.KindReview, Name: model}); err != nil {
		return err
	}
	if days < 0 || days > 3660 {
		return input(fmt.Errorf("plan reviews of %q: %d is not a number of days from 0 to 3660", model, days))
	}
	c, err := k.census(ctx)
	if err != nil {
		return err
	}
	if days > 0 && c.byName[model] == nil { // a plan for one that is gone can be ended
		return fmt.Errorf("plan reviews of %q: %w", model, ErrNotFound)
	}
	p := Plan{Model: model, Days: days, Next: k.instant().AddDate(0, 0, days)}
	return k.change(ctx, &ch, func(*state) (plan, error) {
		return plan{action: "review.plan", resource: "model:" + model, after: text(p), write: func(tx *store.Tx) error {
			if days == 0 {
				_, err := tx.Exec(`DELETE FROM policy_plans WHERE model = $1`, model)
				return err
			}
			return put(tx, "policy_plans", "model", model, p)
		}}, nil
	})
}

// put writes a row of JSON. The names are constants of this package.
func put(tx *store.Tx, table, key, value string, body any) error {
	_, err := tx.Exec(`INSERT INTO `+table+` (`+key+`, body) VALUES ($1, $2) ON CONFLICT (`+key+`) DO UPDATE SET body = excluded.body`, value, text(body))
	return err
}

// Plans are all plans, those that are due first.
func (k *Keeper) Plans(ctx context.Context) ([]Plan, error) {
	out, err := list[Plan](ctx, k, `SELECT body FROM policy_plans`)
	slices.SortFunc(out, func(a, b Plan) int {
		if c := a.Next.Compare(b.Next); c != 0 {
			return c
		}
		return strings.Compare(a.Model, b.Model)
	})
	return out, err
}

// Reviews are all reviews, the newest first.
func (k *Keeper) Reviews(ctx context.Context) ([]Review, error) {
	out, err := list[Review](ctx, k, `SELECT body FROM policy_reviews`)
	slices.SortFunc(out, func(a, b Review) int { return b.Opened.Compare(a.Opened) })
	return out, err
}

func list[T any](ctx context.Context, k *Keeper, query string) (out []T, err error) {
	err = k.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		out, err = bodies[T](tx, query)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read reviews: %w", err)
	}
	return out, nil
}

// OpenReview begins a review of a model. It lists every grant and every role of an
// account that gives anything on it, with what was done by virtue of it in the
// last days, by the log, and what speaks against it. The log is told how many
// these are and their digest: the review itself is kept.
func (k *Keeper) OpenReview(ctx context.Context, ch Change, model string, days int) (Review, error) {
	if err := k.decide(ctx, &ch, policy.Create, policy.Resource{Kind: policy.KindReview, Name: model}); err != nil {
		return Review{}, err
	}
	if days < 1 || days > 3660 {
		return Review{}, input(fmt.Errorf("open a review of %q: %d is not a number of days from 1 to 3660", model, days))
	}
	c, err := k.census(ctx)
	if err != nil {
		return Review{}, err
	}
	if c.byName[model] == nil {
		return Review{}, fmt.Errorf("open a review of %q: %w", model, ErrNotFound)
	}
	r := Review{ID: newID(), Model: model, Opened: k.instant(), By: ch.By.ID, Since: k.instant().AddDate(0, 0, -days)}
	used, err := k.uses(ctx, model, r.Since)
	if err != nil {
		return Review{}, err
	}
	err = k.change(ctx, &ch, func(s *state) (plan, error) {
		r.Items = c.items(s.Grants, c.byName[model], used, r.Opened)
		r.Others = c.others(r.Items, used)
		return plan{action: "review.create", resource: "review:" + r.ID, details: r.digest(), write: func(tx *store.Tx) error {
			if err := put(tx, "policy_reviews", "id", r.ID, r); err != nil {
				return err
			}
			return advance(tx, model, r.Opened)
		}}, nil
	})
	return r, err
}

// digest is what the log is told of a review: one of ten thousand accounts is
// longer than an entry.
func (r *Review) digest() map[string]string {
	return map[string]string{
		"model": r.Model, "items": strconv.Itoa(len(r.Items)), "others": strconv.Itoa(len(r.Others)),
		"sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(text(r)))),
	}
}

// advance sets when the next review is due.
func advance(tx *store.Tx, model string, opened time.Time) error {
	plans, err := bodies[Plan](tx, `SELECT body FROM policy_plans WHERE model = $1`, model)
	if err != nil || len(plans) == 0 {
		return err
	}
	p := plans[0]
	p.Next = opened.AddDate(0, 0, p.Days)
	return put(tx, "policy_plans", "model", model, p)
}

// Judge decides about an item of a review: the grant of this id is kept, taken
// away, or replaced by one of the narrower role that the review proposes. An item
// is decided once. Whoever has something taken away may also take it away without
// a review: grants, or roles of accounts.
func (k *Keeper) Judge(ctx context.Context, ch Change, review, grant string, v Verdict) (Review, error) {
	if err := k.decide(ctx, &ch, policy.Change, policy.Resource{Kind: policy.KindReview, Name: review}); err != nil {
		return Review{}, err
	}
	var r Review
	err := k.change(ctx, &ch, func(s *state) (p plan, err error) {
		if r, err = k.review(ctx, review); err != nil {
			return p, err
		}
		i := slices.IndexFunc(r.Items, func(i Item) bool { return i.Grant.ID == grant })
		if i < 0 {
			return p, fmt.Errorf("judge grant %q in review %q: %w", grant, review, ErrNotFound)
		}
		item := &r.Items[i]
		if item.Verdict != "" {
			return p, fmt.Errorf("judge grant %q: it was decided by %s: %w", grant, item.By, ErrStale)
		}
		if grantResource(&ch, item.Grant).Owner == ch.By.ID {
			return p, input(errors.New("judge a grant: it is your own: have another review it"))
		}
		item.Verdict, item.By, item.At, item.Reason = v, ch.By.ID, k.instant(), ch.Reason
		p = plan{action: "review.change", resource: "review:" + review, before: text(item.Grant), details: map[string]string{"verdict": string(v), "grant": grant}}
		apply, after, err := k.verdict(ctx, &ch, s, item)
		if err != nil {
			return p, err
		}
		p.after = after
		p.write = func(tx *store.Tx) error {
			if err := apply(tx); err != nil {
				return err
			}
			return put(tx, "policy_reviews", "id", r.ID, r)
		}
		return p, nil
	})
	return r, err
}

func (k *Keeper) review(ctx context.Context, id string) (Review, error) {
	all, err := k.Reviews(ctx)
	if err != nil {
		return Review{}, err
	}
	i := slices.IndexFunc(all, func(r Review) bool { return r.ID == id })
	if i < 0 {
		return Review{}, fmt.Errorf("review %q: %w", id, ErrNotFound)
	}
	return all[i], nil
}

// verdict is what a verdict does to the grant, and what is left of it. One that
// was taken away since the review began needs nothing done.
func (k *Keeper) verdict(ctx context.Context, ch *Change, s *state, item *Item) (apply func(*store.Tx) error, after string, err error) {
	g := item.Grant
	gone := item.Held == "" && !slices.ContainsFunc(s.Grants, func(h policy.Grant) bool { return h.ID == g.ID })
	none := func(*store.Tx) error { return nil }
	switch v := item.Verdict; {
	case v != Keep && v != Revoke && v != Narrow:
		return nil, "", input(fmt.Errorf("judge a grant: the verdict %q is none of %q, %q, %q", v, Keep, Revoke, Narrow))
	case v == Narrow && item.Narrower == "":
		return nil, "", input(errors.New("judge a grant: the review found no narrower role for it: keep or revoke it"))
	case gone:
		return none, "", nil
	case v == Keep:
		return none, text(g), nil
	case item.Held != "":
		return none, "", k.strip(ctx, ch, item)
	}
	if err := k.decide(ctx, ch, policy.Delete, grantResource(ch, g)); err != nil {
		return nil, "", err
	}
	if item.Verdict == Revoke {
		return remove(g.ID), "", nil
	}
	old := g.ID
	g.ID, g.Role, g.By, g.Created, g.Reason = newID(), item.Narrower, ch.By.ID, k.instant(), ch.Reason
	return func(tx *store.Tx) error {
		if err := remove(old)(tx); err != nil {
			return err
		}
		return insert(g)(tx)
	}, text(g), nil
}

// strip takes a role of its own away from an account. It is done before the
// verdict is written: if that fails, the item is open still and is judged again.
func (k *Keeper) strip(ctx context.Context, ch *Change, item *Item) error {
	g := item.Grant
	if item.Held == ByIssuer {
		return input(fmt.Errorf("take the role %s from %s: its issuer gives it: take it away there, and keep it here", g.Role, g.Subject))
	}
	if k.cfg.Strip == nil {
		return errors.New("take a role from an account: the configuration does not say how")
	}
	if err := k.decide(ctx, ch, policy.Change, policy.Resource{Kind: policy.KindUser, Name: g.Subject, Owner: g.Subject}); err != nil {
		return err
	}
	return k.cfg.Strip(ctx, ch.By, g.Subject, g.Role)
}

func address(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{} // the log has none, or a form of its own
	}
	return a
}
