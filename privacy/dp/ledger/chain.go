package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/redoubt-ml/redoubt/privacy/dp/account"
	"github.com/redoubt-ml/redoubt/store"
)

// Entry is one line of an account's history.
type Entry struct {
	Number  int64   `json:"number"` // from 1, without gaps
	Time    int64   `json:"time"`   // milliseconds since 1970 UTC, by the clock of whoever wrote it
	Kind    string  `json:"kind"`   // create, reserve, commit or refund
	ID      string  `json:"id,omitempty"`
	By      string  `json:"by"`
	Purpose string  `json:"purpose,omitempty"` // or the reason of a refund
	Key     string  `json:"key,omitempty"`
	Expires int64   `json:"expires,omitempty"`
	Charge  *Charge `json:"charge,omitempty"`
	Steps   []event `json:"steps,omitempty"`
	Budget  *Budget `json:"budget,omitempty"`
	Prev    string  `json:"prev"` // hash of the entry before, empty for the first

	// Hash is the SHA-256 of the entry's text, which is over all of the above.
	Hash string `json:"-"`
}

// Plan is what a reservation releases; empty for other kinds of entries.
func (e Entry) Plan() ([]account.Step, error) { return decodeSteps(e.Steps) }

// accountRow is an account within a transaction.
type accountRow struct {
	dataset, unit string
	state         state
	entries       int64
	head          string
}

func load(tx *store.Tx, dataset, unit string) (*accountRow, error) {
	a := &accountRow{dataset: dataset, unit: unit}
	var text string
	err := tx.QueryRow(`SELECT state, entries, head FROM privacy_accounts WHERE dataset = $1 AND unit = $2`, dataset, unit).
		Scan(&text, &a.entries, &a.head)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("no budget of %q per %q: %w: create it first", dataset, unit, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	return a, json.Unmarshal([]byte(text), &a.state)
}

// lock loads an account that will be written. The update that changes nothing
// comes first: PostgreSQL then has other writers wait here, and not find out at
// the end that they were slower.
func lock(tx *store.Tx, dataset, unit string) (*accountRow, error) {
	if _, err := tx.Exec(`UPDATE privacy_accounts SET entries = entries WHERE dataset = $1 AND unit = $2`, dataset, unit); err != nil {
		return nil, err
	}
	return load(tx, dataset, unit)
}

// append writes an entry and the account's new state.
func (a *accountRow) append(tx *store.Tx, now time.Time, e Entry) error {
	e.Number, e.Time, e.Prev = a.entries+1, now.UnixMilli(), a.head
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	text, err := json.Marshal(a.state)
	if err != nil {
		return err
	}
	hash := hashOf(body)
	if _, err := tx.Exec(`INSERT INTO privacy_entries (dataset, unit, number, hash, body) VALUES ($1, $2, $3, $4, $5)`,
		a.dataset, a.unit, e.Number, hash, string(body)); err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE privacy_accounts SET state = $1, entries = $2, head = $3 WHERE dataset = $4 AND unit = $5`,
		string(text), e.Number, hash, a.dataset, a.unit)
	return err
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// History are the entries of an account, oldest first, after the one numbered
// after.
func (l *Ledger) History(ctx context.Context, dataset, unit string, after int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			page, err := l.page(ctx, dataset, unit, after)
			if err != nil {
				yield(Entry{}, fmt.Errorf("read the history of %s, per %s: %w", dataset, unit, err))
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.Number
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// page is at most a thousand entries, in a transaction of its own.
func (l *Ledger) page(ctx context.Context, dataset, unit string, after int64) (page []Entry, err error) {
	err = l.db.View(ctx, func(tx *store.Tx) error {
		if _, err := load(tx, dataset, unit); err != nil {
			return err
		}
		page, err = entries(tx, dataset, unit, after)
		return err
	})
	return page, err
}

func entries(tx *store.Tx, dataset, unit string, after int64) (page []Entry, err error) {
	rows, err := tx.Query(`SELECT hash, body FROM privacy_entries
		WHERE dataset = $1 AND unit = $2 AND number > $3 ORDER BY number LIMIT 1000`, dataset, unit, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e Entry
		var hash, body string
		if err := rows.Scan(&hash, &body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			return nil, fmt.Errorf("entry after %d: %w: %w", after, ErrAltered, err)
		}
		if e.Hash = hashOf([]byte(body)); e.Hash != hash {
			return nil, fmt.Errorf("entry %d: %w: its hash is another", e.Number, ErrAltered)
		}
		page = append(page, e)
	}
	return page, rows.Err()
}

// ErrAltered says that a ledger is not what was written.
var ErrAltered = errors.New("the ledger was altered")

// Balance is what an account comes to.
type Balance struct {
	Budget  Budget  `json:"budget"`
	Spent   float64 `json:"spent"` // epsilon of all that is reserved and committed, at the budget's delta
	Charge  Charge  `json:"charge"`
	Pure    float64 `json:"left_epsilon"` // greatest pure epsilon that one more release may have; Filter only
	Rho     float64 `json:"left_rho"`     // greatest zero-concentrated loss of one more release; Filter only
	Entries int64   `json:"entries"`
	Head    string  `json:"head"` // hash of the last entry
	// Spenders are in the order of their names, with a line for each status.
	Spenders []Spender `json:"spenders"`
}

// Spender is what one owner's reservations of one status come to.
type Spender struct {
	Owner  string `json:"owner"`
	Status string `json:"status"`
	Count  int64  `json:"count"`
	Charge Charge `json:"charge"`
}

// Show is the state of an account.
func (l *Ledger) Show(ctx context.Context, dataset, unit string) (b Balance, err error) {
	err = l.db.View(ctx, func(tx *store.Tx) error {
		a, err := load(tx, dataset, unit)
		if err != nil {
			return err
		}
		b = Balance{Budget: a.state.Budget, Charge: a.state.Spent, Entries: a.entries, Head: a.head}
		b.Pure, b.Rho = a.state.remains()
		if b.Spent, err = a.state.worth(); err != nil {
			return err
		}
		b.Spenders, err = spenders(tx, dataset, unit)
		return err
	})
	if err != nil {
		return b, fmt.Errorf("show the budget: %w", err)
	}
	return b, nil
}

func spenders(tx *store.Tx, dataset, unit string) (out []Spender, err error) {
	rows, err := tx.Query(`SELECT owner, status, COUNT(*), CAST(SUM(epsilon) AS BIGINT), CAST(SUM(rho) AS BIGINT), CAST(SUM(delta) AS BIGINT)
		FROM privacy_reservations WHERE dataset = $1 AND unit = $2 GROUP BY owner, status ORDER BY owner, status`, dataset, unit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s Spender
		if err := rows.Scan(&s.Owner, &s.Status, &s.Count, &s.Charge.Epsilon, &s.Charge.Rho, &s.Charge.Delta); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// Budgets are all accounts, in the order of their names.
func (l *Ledger) Budgets(ctx context.Context) (out []Budget, err error) {
	err = l.db.View(ctx, func(tx *store.Tx) error {
		out = nil
		rows, err := tx.Query(`SELECT state FROM privacy_accounts ORDER BY dataset, unit`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			var s state
			if err := rows.Scan(&text); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				return err
			}
			out = append(out, s.Budget)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list the budgets: %w", err)
	}
	return out, nil
}

// Verify computes an account anew from its history: that the hashes chain, that
// every reservation ended at most once and as its row says, and that the sums
// are those of what is not refunded. The error wraps ErrAltered where they are
// not. The head is that of the history it has seen: the one to note elsewhere.
func (l *Ledger) Verify(ctx context.Context, dataset, unit string) (head string, err error) {
	err = l.db.View(ctx, func(tx *store.Tx) error {
		a, err := load(tx, dataset, unit)
		if err != nil {
			return err
		}
		replay := &accountRow{dataset: dataset, unit: unit}
		open := map[string]Entry{} // reservations that have not ended
		ended := map[string]string{}
		for {
			page, err := entries(tx, dataset, unit, replay.entries)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				if e.Number != replay.entries+1 || e.Prev != replay.head {
					return fmt.Errorf("entry %d: %w: it does not follow entry %d", e.Number, ErrAltered, replay.entries)
				}
				if err := replay.apply(e, open, ended); err != nil {
					return fmt.Errorf("entry %d: %w: %w", e.Number, ErrAltered, err)
				}
				replay.entries, replay.head = e.Number, e.Hash
			}
		}
		head = replay.head
		return a.compare(tx, replay, open, ended)
	})
	if err != nil {
		return "", fmt.Errorf("verify the ledger of %s, per %s: %w", dataset, unit, err)
	}
	return head, nil
}

// apply is what an entry does to an account.
func (a *accountRow) apply(e Entry, open map[string]Entry, ended map[string]string) error {
	if (e.Kind == "create") != (e.Number == 1) {
		return fmt.Errorf("a %s stands there", e.Kind)
	}
	r, isOpen := open[e.ID]
	switch {
	case e.Kind == "create" && e.Budget != nil:
		a.state.Budget = *e.Budget
		return nil
	case e.Kind == "reserve" && e.Charge != nil && !isOpen && ended[e.ID] == "":
		open[e.ID] = e
		sum, err := a.state.Spent.plus(*e.Charge)
		a.state.Spent = sum
		return errors.Join(err, a.state.count(e.Steps, 1))
	case e.Kind == "commit" && isOpen:
		ended[e.ID] = "committed"
	case e.Kind == "refund" && isOpen:
		ended[e.ID] = "refunded"
		a.state.Spent = a.state.Spent.minus(*r.Charge)
		if err := a.state.count(r.Steps, -1); err != nil {
			return err
		}
	default:
		return fmt.Errorf("a %s that nothing before it allows", e.Kind)
	}
	delete(open, e.ID)
	return nil
}

// compare holds the rows against what the history comes to.
func (a *accountRow) compare(tx *store.Tx, replay *accountRow, open map[string]Entry, ended map[string]string) error {
	if a.entries != replay.entries || a.head != replay.head {
		return fmt.Errorf("%w: the account says %d entries, and there are %d", ErrAltered, a.entries, replay.entries)
	}
	if a.state.Spent != replay.state.Spent || a.state.Budget != replay.state.Budget {
		return fmt.Errorf("%w: the account's sums are not those of its history", ErrAltered)
	}
	if rho, err := rhoFor(a.state.Budget.half()); err != nil || rho != a.state.Rho {
		return errors.Join(err, fmt.Errorf("%w: the account's bound is not that of its budget", ErrAltered))
	}
	if a.state.Budget.Rule == Composed && !maps.Equal(a.state.Events, replay.state.Events) {
		return fmt.Errorf("%w: the account's steps are not those of its history", ErrAltered)
	}
	rows, err := tx.Query(`SELECT id, status FROM privacy_reservations WHERE dataset = $1 AND unit = $2`, a.dataset, a.unit)
	if err != nil {
		return err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var id, status string
		if err := rows.Scan(&id, &status); err != nil {
			return err
		}
		want := ended[id]
		if _, ok := open[id]; ok {
			want = "reserved"
		}
		if status != want {
			return fmt.Errorf("%w: reservation %s is %s, and its history says %q", ErrAltered, id, status, want)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n != len(open)+len(ended) {
		return fmt.Errorf("%w: %d reservations, and the history has %d", ErrAltered, n, len(open)+len(ended))
	}
	return nil
}
