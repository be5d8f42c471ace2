package limit

import (
	"cmp"
	"context"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"sync/atomic"
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
	seed    maphash.Seed
	began   time.Time
	numbers atomic.Uint64 // counters made
	shards  [shardCount]shard
}

type shard struct {
	mu       sync.RWMutex
	counters map[counterKey]*counter
	ring     []*counter // the same, to look for those to forget
	hand     int
	most     int
	// together are the counters of those for whom there was no room, by the
	// bucket's name.
	together map[string]*counter
}

type counterKey struct{ bucket, key string }

// counter counts the windows of one key. Whoever holds several locks them in the
// order of their numbers, so that takes never wait in a circle.
type counter struct {
	key    counterKey
	number uint64

	mu        sync.Mutex
	limits    []Limit
	cells     []cell
	forgotten bool // what it counted is 0, and another may count the key by now
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

// Take implements [Taker]. It never fails and never waits for more than the
// locks of the keys it counts. Everybody's calls meet in some of them: what can be
// done before and after, is.
func (m *Memory) Take(_ context.Context, buckets []Bucket) Answer {
	var few [8]*counter
	var some [16]int64
	now := time.Since(m.began).Microseconds()
	for {
		counters := few[:0]
		for i := range buckets {
			counters = append(counters, m.find(&buckets[i], now))
		}
		if levels, fits, ok := take(buckets, counters, now, some[:0]); ok {
			return answer(buckets, levels, fits)
		}
	}
}

// take charges every window, or none, and returns their levels afterwards. It is not
// ok when a counter was forgotten since it was found.
func take(buckets []Bucket, counters []*counter, now int64, levels []int64) (_ []int64, fits, ok bool) {
	var few [8]*counter
	locked := lock(append(few[:0], counters...))
	defer unlock(locked)
	fits = true
	for i, c := range counters {
		if c.forgotten {
			return nil, false, false
		}
		c.relimit(buckets[i].Limits)
		for j, l := range c.limits {
			level := c.cells[j].at(l, now)
			fits = fits && l.fits(level)
			levels = append(levels, level)
		}
	}
	if !fits {
		return levels, false, true
	}
	levels = levels[:0]
	for _, c := range counters {
		for j, l := range c.limits {
			c.cells[j].charge(l, now)
			levels = append(levels, c.cells[j].level)
		}
	}
	return levels, true, true
}

// lock locks counters, each once, and returns them in the order in which it did.
func lock(counters []*counter) []*counter {
	slices.SortFunc(counters, func(a, b *counter) int { return cmp.Compare(a.number, b.number) })
	counters = slices.Compact(counters)
	for _, c := range counters {
		c.mu.Lock()
	}
	return counters
}

func unlock(counters []*counter) {
	for _, c := range counters {
		c.mu.Unlock()
	}
}

// find is the counter of a bucket, made if there is none.
func (m *Memory) find(b *Bucket, now int64) *counter {
	key := counterKey{b.Name, b.Key}
	s := &m.shards[maphash.String(m.seed, b.Key)%shardCount]
	s.mu.RLock()
	c := s.counters[key]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.counters[key]; c != nil {
		return c
	}
	return m.add(s, key, b.Limits, now)
}

// add makes room for a counter in a shard, or finds the one that it shares.
func (m *Memory) add(s *shard, key counterKey, limits []Limit, now int64) *counter {
	if len(s.ring) < s.most {
		c := m.newCounter(key, limits)
		s.counters[key] = c
		s.ring = append(s.ring, c)
		return c
	}
	for range min(sweep, len(s.ring)) {
		s.hand = (s.hand + 1) % len(s.ring)
		if old := s.ring[s.hand]; old.forget(now) {
			delete(s.counters, old.key)
			c := m.newCounter(key, limits)
			s.counters[key], s.ring[s.hand] = c, c
			return c
		}
	}
	c := s.together[key.bucket]
	if c == nil {
		c = m.newCounter(counterKey{bucket: key.bucket}, limits)
		s.together[key.bucket] = c
	}
	return c
}

func (m *Memory) newCounter(key counterKey, limits []Limit) *counter {
	return &counter{key: key, number: m.numbers.Add(1), limits: limits, cells: make([]cell, len(limits))}
}

// forget gives a counter up if that gives nobody anything back.
func (c *counter) forget(now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten = c.idle(now)
	return c.forgotten
}

// idle reports whether none of its windows has anything in it. The counter is locked.
func (c *counter) idle(now int64) bool {
	for i, l := range c.limits {
		if c.cells[i].at(l, now) > 0 {
			return false
		}
	}
	return true
}

// relimit goes on with other limits, if the configuration changed. A window of the
// same length keeps its share of use; another begins anew. The counter is locked.
func (c *counter) relimit(limits []Limit) {
	if slices.Equal(c.limits, limits) {
		return
	}
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
