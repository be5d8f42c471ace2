package vault

import (
	"context"
	"fmt"
	"sync"
)

// step is for how many values a session is recorded at once.
const step = MaxBatch

// Session reveals values in many small steps. The record has no entry for each:
// before the first of every 10,000 values it says that so many may follow, and at the
// end how many there were. It is safe for use by several goroutines at once.
type Session struct {
	v   *Vault
	who Reader

	mu    sync.Mutex
	left  int // of those that were recorded
	total int
}

// Session begins one. Nothing is recorded until it is used.
func (v *Vault) Session(who Reader) *Session { return &Session{v: v, who: who} }

// Reveal is as that of the vault.
func (s *Session) Reveal(ctx context.Context, tokens []string) ([]Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	values, err := s.v.read(ctx, s.who, tokens)
	if err != nil {
		if noted := s.v.revealed(ctx, s.who, err, fmt.Sprint(len(tokens))); noted != nil {
			return nil, noted
		}
		return nil, err
	}
	if s.left < len(tokens) {
		if err := s.v.revealed(ctx, s.who, nil, fmt.Sprintf("up to %d", step)); err != nil {
			return nil, err
		}
		s.left = step
	}
	s.left -= len(tokens)
	s.total += len(tokens)
	return values, nil
}

// Close records how many values were revealed, if any were.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total == 0 {
		return nil
	}
	n := s.total
	s.total, s.left = 0, 0
	return s.v.revealed(ctx, s.who, nil, fmt.Sprintf("%d in all", n))
}
