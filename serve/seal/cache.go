package seal

import (
	"crypto/sha256"
	"sync"
	"time"
)

// cache remembers data keys for a time, so that a short loss of the key service
// is not noticed.
type cache struct {
	mu   sync.Mutex
	keys map[slot]remembered
}

type slot [sha256.Size]byte

type remembered struct {
	data  []byte
	until time.Time
}

const (
	defaultLife = 5 * time.Minute
	// maxRemembered bounds the cache. One that is full of keys in their time makes
	// room by forgetting any.
	maxRemembered = 10_000
)

// slot tells headers apart by everything that unwrapping depends on.
func (c *cache) slot(h header) slot {
	h.generation = 0
	return sha256.Sum256(h.encode())
}

func (c *cache) find(s slot) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.keys[s]
	if ok && !time.Now().Before(r.until) {
		delete(c.keys, s)
		return nil
	}
	return r.data
}

func (c *cache) keep(s slot, data []byte, life time.Duration) {
	if life < 0 {
		return
	}
	if life == 0 {
		life = defaultLife
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys = map[slot]remembered{}
	}
	if len(c.keys) >= maxRemembered {
		c.forget()
	}
	c.keys[s] = remembered{data, time.Now().Add(life)}
}

// forget drops the keys whose time is over, and one more if there is none.
func (c *cache) forget() {
	now := time.Now()
	for s, r := range c.keys {
		if !now.Before(r.until) {
			delete(c.keys, s)
		}
	}
	for s := range c.keys {
		if len(c.keys) < maxRemembered {
			break
		}
		delete(c.keys, s)
	}
}
