package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/store"
)

var (
	// ErrInput is wrapped by errors about what somebody asked for, whose text is
	// meant for him.
	ErrInput = errors.New("not accepted")
	// ErrStale says that the model was changed by others meanwhile.
	ErrStale = errors.New("the model was changed by others meanwhile: try again")
)

func input(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInput}, args...)...)
}

const (
	maxVersions = 1000    // of a model
	maxBundles  = 16      // of a version, of each kind
	maxBundle   = 1 << 20 // bytes
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// Push adds a version, whose weights were put before: of v, File, Digest, Stage,
// Signatures and Attestations are asked for. It must be admitted. Without a stage it
// goes into production if nothing else is there, and else into staging.
func (r *Registry) Push(ctx context.Context, ch Change, model string, v Version) (*Version, error) {
	if !nameForm.MatchString(model) {
		return nil, input("the name %q is not made of letters, digits, '.', '_' and '-'", clip(model))
	}
	v.File = path.Base(strings.ReplaceAll(v.File, `\`, "/"))
	switch {
	case v.Stage != "" && !slices.Contains(Stages, v.Stage):
		return nil, input("there is no stage %q: write one of %v", clip(string(v.Stage)), Stages)
	case !sha256Form.MatchString(string(v.Digest)):
		return nil, input("the digest is no SHA-256 of 64 hexadecimal digits in lower case")
	case len(v.Signatures) > maxBundles || len(v.Attestations) > maxBundles:
		return nil, input("more than %d signatures or attestations", maxBundles)
	case slices.ContainsFunc(slices.Concat(v.Signatures, v.Attestations), func(b []byte) bool { return len(b) > maxBundle }):
		return nil, input("a signature or attestation is larger than %d bytes", maxBundle)
	}
	weights, _, err := r.Admit(ctx, r.required.Load(), &v)
	if err != nil {
		return nil, r.denied(ctx, ch, model, "model.push", err)
	}
	v.Size, v.Pushed, v.By = int64(len(weights)), r.cfg.Now().UTC(), ch.By.ID
	err = r.change(ctx, ch, "model.push", model, true, func(m *Model) (string, error) {
		if !r.weights.has(v.Digest) { // swept since they were looked at
			return "", ErrStale
		}
		if len(m.Versions) >= maxVersions {
			return "", input("the model has %d versions: delete some", len(m.Versions))
		}
		m.Last++
		v.Version = strconv.Itoa(m.Last)
		if v.Stage == "" {
			v.Stage = Staging
			if m.Live() == nil {
				v.Stage = Production
			}
		}
		stage := v.Stage
		v.Stage = Archived // until it takes its place
		m.Versions = append(m.Versions, v)
		m.move(&m.Versions[len(m.Versions)-1], stage)
		v.Stage = stage
		return v.Version, nil
	})
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// move puts a version at a stage. What was in production is archived, and the last
// to which [Registry.Rollback] returns.
func (m *Model) move(v *Version, to Stage) {
	if live := m.Live(); live != nil && to == Production && live != v {
		live.Stage = Archived
		m.Past = append(m.Past, live.Version)
	}
	if v.Stage == Production && to != Production {
		m.Past = append(m.Past, v.Version)
	}
	v.Stage = to
}

// Promote moves a version to a stage. It must be admitted, unless it is archived by
// that.
func (r *Registry) Promote(ctx context.Context, ch Change, model, version string, to Stage) error {
	if !slices.Contains(Stages, to) {
		return input("there is no stage %q: write one of %v", clip(string(to)), Stages)
	}
	if to != Archived {
		if err := r.admitted(ctx, ch, "model.promote", model, version); err != nil {
			return err
		}
	}
	return r.change(ctx, ch, "model.promote", model, false, func(m *Model) (string, error) {
		v := m.Find(version)
		if v == nil {
			return "", ErrNotFound
		}
		m.move(v, to)
		return v.Version, nil
	})
}

// Rollback puts the version back into production that was there before, which must
// be admitted.
func (r *Registry) Rollback(ctx context.Context, ch Change, model string) (version string, err error) {
	m, err := r.Model(ctx, model)
	if err != nil {
		return "", err
	}
	before := m.before()
	if before == "" {
		return "", input("no other version was in production before")
	}
	if err := r.admitted(ctx, ch, "model.rollback", model, before); err != nil {
		return "", err
	}
	return before, r.change(ctx, ch, "model.rollback", model, false, func(m *Model) (string, error) {
		if m.before() != before {
			return "", ErrStale
		}
		i := slices.Index(m.Past, before)
		for k, p := range m.Past {
			if p == before {
				i = k
			}
		}
		m.Past = m.Past[:i]
		if live := m.Live(); live != nil {
			live.Stage = Archived // and not in the past: a second rollback goes further back
		}
		m.Find(before).Stage = Production
		return before, nil
	})
}

// before is the last version that was in production before the one that is, ""
// if none is left.
func (m *Model) before() string {
	live := ""
	if v := m.Live(); v != nil {
		live = v.Version
	}
	for _, p := range slices.Backward(m.Past) {
		if p != live && m.Find(p) != nil {
			return p
		}
	}
	return ""
}

// SetAlias gives a version a further name; without a version it takes the name
// away.
func (r *Registry) SetAlias(ctx context.Context, ch Change, model, alias, version string) error {
	if _, err := strconv.Atoi(alias); err == nil || !nameForm.MatchString(alias) {
		return input("the alias %q is a number, or not made of letters, digits, '.', '_' and '-'", clip(alias))
	}
	return r.change(ctx, ch, "model.alias", model, false, func(m *Model) (string, error) {
		if version == "" {
			delete(m.Aliases, alias)
			return "", nil
		}
		v := m.Find(version)
		if v == nil {
			return "", ErrNotFound
		}
		if m.Aliases == nil {
			m.Aliases = map[string]string{}
		}
		m.Aliases[alias] = v.Version
		return v.Version, nil
	})
}

// SetCanary has a version answer a share of the calls; nil ends that.
func (r *Registry) SetCanary(ctx context.Context, ch Change, model string, c *Canary) error {
	if c != nil && !(c.Share > 0 && c.Share <= 1) {
		return input("the share %v is not above 0 and at most 1", c.Share)
	}
	return r.change(ctx, ch, "model.canary", model, false, func(m *Model) (version string, err error) {
		if m.Canary = nil; c != nil {
			version, err = m.routable(c.Version)
			m.Canary = &Canary{version, c.Share}
		}
		return version, err
	})
}

// SetShadow has a version answer without being heard; "" ends that.
func (r *Registry) SetShadow(ctx context.Context, ch Change, model, version string) error {
	return r.change(ctx, ch, "model.shadow", model, false, func(m *Model) (_ string, err error) {
		if m.Shadow = ""; version != "" {
			m.Shadow, err = m.routable(version)
		}
		return m.Shadow, err
	})
}

// routable is the number of a version that is not archived.
func (m *Model) routable(version string) (string, error) {
	v := m.Find(version)
	switch {
	case v == nil:
		return "", ErrNotFound
	case v.Stage == Archived:
		return "", input("version %s is archived: promote it first", v.Version)
	}
	return v.Version, nil
}

// Delete takes a version away, and its weights if no other has the same; without a
// version, the whole model. The version in production goes only with the model.
func (r *Registry) Delete(ctx context.Context, ch Change, model, version string) error {
	var gone []redoubt.Digest
	err := r.change(ctx, ch, "model.delete", model, false, func(m *Model) (string, error) {
		if version == "" {
			for _, v := range m.Versions {
				gone = append(gone, v.Digest)
			}
			m.Versions = nil
			return "", nil
		}
		v := m.Find(version)
		switch {
		case v == nil:
			return "", ErrNotFound
		case v.Stage == Production:
			return "", input("version %s is in production: promote another first, or delete the model", v.Version)
		}
		gone = append(gone, v.Digest)
		number := v.Version
		m.drop(number)
		return number, nil
	})
	if err != nil {
		return err
	}
	return r.sweep(context.WithoutCancel(ctx), gone...)
}

// drop removes a version and everything that names it.
func (m *Model) drop(version string) {
	m.Versions = slices.DeleteFunc(m.Versions, func(v Version) bool { return v.Version == version })
	m.Past = slices.DeleteFunc(m.Past, func(p string) bool { return p == version })
	maps.DeleteFunc(m.Aliases, func(_, to string) bool { return to == version })
	if m.Canary != nil && m.Canary.Version == version {
		m.Canary = nil
	}
	if m.Shadow == version {
		m.Shadow = ""
	}
}

// admitted refuses what would bring a version into use that may not be.
func (r *Registry) admitted(ctx context.Context, ch Change, action, model, version string) error {
	m, err := r.Model(ctx, model)
	if err != nil {
		return err
	}
	v := m.Find(version)
	if v == nil {
		return ErrNotFound
	}
	if _, _, err := r.Admit(ctx, r.required.Load(), v); err != nil {
		return r.denied(ctx, ch, model, action, err)
	}
	return nil
}

// denied records a refusal.
func (r *Registry) denied(ctx context.Context, ch Change, model, action string, err error) error {
	e := r.event(ch, action, model)
	e.Outcome, e.Reason = redoubt.Denied, clip(err.Error())
	return errors.Join(err, r.cfg.Log.Record(context.WithoutCancel(ctx), e))
}

func (r *Registry) event(ch Change, action, model string) redoubt.Event {
	e := redoubt.Event{
		Time: r.cfg.Now(), Action: action, Outcome: redoubt.Allowed,
		Actor: ch.By.ID, Method: ch.By.Method, Credential: ch.By.Credential, Resource: "model:" + model, Request: ch.Request,
	}
	if ch.From.IsValid() {
		e.From = ch.From.String()
	}
	return e
}

// change makes a change to a model as it is: planned, recorded, and then written if
// nobody was faster. A model without versions is one that is gone. do returns which
// version the change is about.
func (r *Registry) change(ctx context.Context, ch Change, action, model string, create bool, do func(m *Model) (version string, err error)) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	before, err := r.body(ctx, model)
	if err != nil {
		return err
	}
	m := &Model{Name: model}
	switch {
	case before != "":
		if err := json.Unmarshal([]byte(before), m); err != nil {
			return fmt.Errorf("read model %s: %w", model, err)
		}
	case !create:
		return ErrNotFound
	}
	e := r.event(ch, action, model)
	e.Before = m.summary()
	version, err := do(m)
	if err != nil {
		return err
	}
	if e.After = m.summary(); version != "" {
		e.Details = map[string]string{"version": version}
		if v := m.Find(version); v != nil {
			e.Details["digest"] = string(v.Digest)
		}
	}
	if err := r.cfg.Log.Record(ctx, e); err != nil {
		return fmt.Errorf("change model %s: not done, for it cannot be recorded: %w", model, err)
	}
	if err := r.write(ctx, m, before); err != nil {
		// Also when the caller has gone away: the log must not claim what was not done.
		e.Outcome, e.Reason = redoubt.Failed, clip(err.Error())
		return errors.Join(err, r.cfg.Log.Record(context.WithoutCancel(ctx), e))
	}
	return nil
}

// body is a model as it is stored, "" if it is not.
func (r *Registry) body(ctx context.Context, model string) (body string, err error) {
	err = r.cfg.DB.View(ctx, func(tx *store.Tx) error {
		body = ""
		err := tx.QueryRow(`SELECT body FROM registry_models WHERE name = $1`, model).Scan(&body)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return body, err
}

func (r *Registry) write(ctx context.Context, m *Model, before string) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return r.cfg.DB.Update(ctx, func(tx *store.Tx) (err error) {
		var n int64
		switch {
		case before == "":
			n, err = tx.Exec(`INSERT INTO registry_models VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, m.Name, string(body))
		case len(m.Versions) == 0:
			n, err = tx.Exec(`DELETE FROM registry_models WHERE name = $1 AND body = $2`, m.Name, before)
		default:
			n, err = tx.Exec(`UPDATE registry_models SET body = $1 WHERE name = $2 AND body = $3`, string(body), m.Name, before)
		}
		if err == nil && n == 0 {
			err = ErrStale
		}
		if err != nil {
			return err
		}
		return tx.Bump(Room)
	})
}

// sweep removes weights that no version has: those given, and those that were put
// long ago and never pushed.
func (r *Registry) sweep(ctx context.Context, given ...redoubt.Digest) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	all, err := r.Models(ctx)
	if err != nil {
		return err
	}
	used := map[redoubt.Digest]bool{}
	for _, m := range all {
		for _, v := range m.Versions {
			used[v.Digest] = true
		}
	}
	return r.weights.sweep(r.cfg.Now().Add(-orphaned), func(d redoubt.Digest, old bool) bool {
		return !used[d] && (old || slices.Contains(given, d))
	})
}

// orphaned is how long weights lie that were put and not pushed.
const orphaned = 24 * time.Hour

// summary is what is routed where, for the record.
func (m *Model) summary() string {
	var parts []string
	for _, v := range m.Versions {
		if v.Stage != Archived {
			parts = append(parts, v.Version+"="+string(v.Stage))
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(m.Aliases)) {
		parts = append(parts, alias+"->"+m.Aliases[alias])
	}
	if m.Canary != nil {
		parts = append(parts, fmt.Sprintf("canary=%s@%v", m.Canary.Version, m.Canary.Share))
	}
	if m.Shadow != "" {
		parts = append(parts, "shadow="+m.Shadow)
	}
	return clip(strings.Join(parts, " "))
}

// clip keeps what came from outside short.
func clip(s string) string {
	if len(s) <= 500 {
		return s
	}
	return strings.ToValidUTF8(s[:500], "") + "..."
}
