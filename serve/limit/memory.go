package limit

import (
	"context"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"time"
)

// MemoryConfig is how much a limiter remembers. The zero value works.
type MemoryConfig struct {
	// Keys bounds what is counted at the same time; 262144 if zero. A key is
	// forgotten only when all of its windows have run out, so nobody gets calls
	// back by having others pushed in. Keys that come when none can be forgotten
	// are counted together, by the bucket's name: many at once slow each other
	// down, and nobody who was there before.
	Keys int
}

const (
	defaultKeys = 1 << 18
	shardCount  = 64
	// sweep is how many keys are looked at to find one to forget.
	sweep = 16
)

// Memory counts in this process. It is safe for concurrent use and starts no
// goroutine.
type Memory struct {
	seed   maphash.Seed
	began  time.Time
	shards [shardCount]shard
}

type shard struct {
	mu       sync.Mutex
	counters map[counterKey]*counter
	ring     []*counter // the same, to look for those to forget
	hand     int
	most     int
	// together are the counters of those for whom there was no room, by the
	// bucket's name.
	together map[string]*counter
}

type counterKey struct{ bucket, key string }

type counter struct {
	key    counterKey
	limits []Limit
	cells  []cell
}

// NewMemory returns a limiter that counts in this process.
func NewMemory(cfg MemoryConfig) *Memory {
	if cfg.Keys <= 0 {
		cfg.Keys = defaultKeys
	}
	m := &Memory{seed: maphash.MakeSeed(), began: time.Now()}
	for i := range m.shards {
		m.shards[i] = shard{
			counters: map[counterKey]*counter{}, together: map[string]*counter{},
			most: max(cfg.Keys/shardCount, 1),
		}
	}
	return m
}

// spot is where a bucket of a take is counted.
type spot struct {
	shard uint64
	*counter
}

// Take implements [Taker]. It never fails and never waits for more than the
// locks of the keys it counts.
func (m *Memory) Take(_ context.Context, buckets []Bucket) Answer {
	var few [8]spot
	spots := few[:0]
	windows := 0
	var locks uint64 // a bit for each shard: taken in order, so that takes never wait in a circle
	for i := range buckets {
		s := m.shardOf(&buckets[i])
		spots = append(spots, spot{shard: s})
		locks |= 1 << s
		windows += len(buckets[i].Limits)
	}
	m.lock(locks)
	defer m.unlock(locks)
	now := time.Since(m.began).Microseconds()
	for i := range buckets {
		spots[i].counter = m.shards[spots[i].shard].find(&buckets[i], now)
	}
	return take(buckets, spots, windows, now)
}

// take charges every window, or none.
func take(buckets []Bucket, spots []spot, windows int, now int64) Answer {
	states := make([]State, 0, windows)
	refused := -1
	for i := range buckets {
		for j, l := range buckets[i].Limits {
			s := state(&buckets[i], l, spots[i].cells[j].at(l, now))
			if s.Wait > 0 && (refused < 0 || s.Wait > states[refused].Wait) {
				refused = len(states)
			}
			states = append(states, s)
		}
	}
	if refused >= 0 {
		return conclude(states, refused)
	}
	states = states[:0]
	for i := range buckets {
		for j, l := range buckets[i].Limits {
			c := &spots[i].cells[j]
			*c = cell{c.at(l, now) + l.Window.Microseconds(), now}
			states = append(states, state(&buckets[i], l, c.level))
		}
	}
	return conclude(states, -1)
}

func (m *Memory) shardOf(b *Bucket) uint64 {
	return maphash.Comparable(m.seed, counterKey{b.Name, b.Key}) % shardCount
}

func (m *Memory) lock(locks uint64) {
	for i := range m.shards {
		if locks&(1<<i) != 0 {
			m.shards[i].mu.Lock()
		}
	}
}

func (m *Memory) unlock(locks uint64) {
	for i := range m.shards {
		if locks&(1<<i) != 0 {
			m.shards[i].mu.Unlock()
		}
	}
}

// find is the counter of a bucket, made if there is none.
func (s *shard) find(b *Bucket, now int64) *counter {
	key := counterKey{b.Name, b.Key}
	c := s.counters[key]
	if c == nil {
		c = s.add(key, b, now)
	}
	if !slices.Equal(c.limits, b.Limits) {
		c.relimit(b.Limits)
	}
	return c
}

// add makes room for a counter, or finds the one that it shares.
func (s *shard) add(key counterKey, b *Bucket, now int64) *counter {
	if len(s.ring) < s.most {
		c := newCounter(key, b.Limits)
		s.counters[key] = c
		s.ring = append(s.ring, c)
		return c
	}
	for range min(sweep, len(s.ring)) {
		s.hand = (s.hand + 1) % len(s.ring)
		if old := s.ring[s.hand]; old.idle(now) {
			delete(s.counters, old.key)
			c := newCounter(key, b.Limits)
			s.counters[key], s.ring[s.hand] = c, c
			return c
		}
	}
	c := s.together[b.Name]
	if c == nil {
		c = newCounter(counterKey{bucket: b.Name}, b.Limits)
		s.together[b.Name] = c
	}
	return c
}

func newCounter(key counterKey, limits []Limit) *counter {
	return &counter{key, limits, make([]cell, len(limits))}
}

// idle reports whether forgetting it would give nobody anything back.
func (c *counter) idle(now int64) bool {
	for i, l := range c.limits {
		if c.cells[i].at(l, now) > 0 {
			return false
		}
	}
	return true
}

// relimit goes on with other limits, after the configuration changed. A window
// of the same length keeps its share of use; another begins anew.
func (c *counter) relimit(limits []Limit) {
	cells := make([]cell, len(limits))
	for i, l := range limits {
		for j, old := range c.limits {
			if old.Window == l.Window {
				used := float64(c.cells[j].level) / float64(old.Count) * float64(l.Count)
				cells[i] = cell{int64(math.Ceil(used)), c.cells[j].last}
			}
		}
	}
	c.limits, c.cells = limits, cells
}
