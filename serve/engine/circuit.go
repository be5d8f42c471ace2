package engine

import (
	"sync"
	"time"
)

// circuit keeps calls from a server that fails: after several failures in a row
// it is open for a pause, then lets one call through. If that succeeds it is
// closed again, and otherwise the next pause is twice as long.
type circuit struct {
	limit int           // failures that open it
	pause time.Duration // the first pause

	mu       sync.Mutex
	failures int
	wait     time.Duration
	until    time.Time
	probing  bool
}

// longestPause bounds how long a server that has recovered is left alone.
const longestPause = 30 * time.Second

// allow reports whether a call may be made; each that may is followed by report
// or forget.
func (c *circuit) allow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures < c.limit {
		return true
	}
	if c.probing || time.Now().Before(c.until) {
		return false
	}
	c.probing = true
	return true
}

// open reports whether calls are refused at the moment.
func (c *circuit) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures >= c.limit && (c.probing || time.Now().Before(c.until))
}

// report tells how a call ended.
func (c *circuit) report(ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = false
	if ok {
		c.failures, c.wait = 0, 0
		return
	}
	if c.failures++; c.failures >= c.limit {
		c.wait = min(max(2*c.wait, c.pause), longestPause)
		c.until = time.Now().Add(c.wait)
	}
}

// forget ends a call that tells nothing about the server, because its client
// left.
func (c *circuit) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = false
}
