package gateway

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// bodies has those that something is made of take turns. Who reads his answer slowly
// keeps his turn until he has it, so nobody has more than half of them.
type bodies struct {
	most int64 // bytes
	all  *semaphore.Weighted

	mu   sync.Mutex
	each map[string]*share // of those who have some, or wait for some
}

// share is what one caller may have.
type share struct {
	*semaphore.Weighted
	users int
}

func newBodies(most int64) *bodies {
	return &bodies{most: most, all: semaphore.NewWeighted(most), each: map[string]*share{}}
}

// small is the length of a body that waits for nobody: so many of them as may be under
// way at once take little memory.
const small = 64 << 10

// take waits for the turn of a body. What it returns ends the turn.
func (b *bodies) take(ctx context.Context, who string, bytes int64) (end func(), err error) {
	half := max(b.most/2, 1)
	his, all := min(bytes, half), min(bytes, b.most) // one that is larger than all has them all
	s := b.share(who, half)
	if err := s.Acquire(ctx, his); err != nil {
		b.leave(who, s)
		return nil, err
	}
	if err := b.all.Acquire(ctx, all); err != nil {
		s.Release(his)
		b.leave(who, s)
		return nil, err
	}
	return func() {
		b.all.Release(all)
		s.Release(his)
		b.leave(who, s)
	}, nil
}

// share is the one of a caller, until he leaves it.
func (b *bodies) share(who string, most int64) *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.each[who]
	if s == nil {
		s = &share{Weighted: semaphore.NewWeighted(most)}
		b.each[who] = s
	}
	s.users++
	return s
}

func (b *bodies) leave(who string, s *share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(b.each, who)
	}
}

// takeTurn waits until there is memory for what is made of a body that has arrived. A
// client who sends slowly has no turn yet, and keeps nobody waiting.
func (c *Call) takeTurn(ctx context.Context, bytes int64) (err error) {
	if bytes < small {
		return nil
	}
	if c.turn, err = c.offer.bodies.take(ctx, c.who(), bytes); err != nil {
		return oip.Classify(err)
	}
	return nil
}

// endTurn is called when the call has been answered.
func (c *Call) endTurn() {
	if c.turn != nil {
		c.turn()
	}
}
