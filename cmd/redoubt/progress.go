package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress tells a person on stderr how far a long job is: a bar on a
// terminal, a line now and then elsewhere, nothing when quiet.
type progress struct {
	mu       sync.Mutex
	quiet    bool
	terminal bool
	stage    string
	last     time.Time
	drawn    bool
}

func newProgress(quiet bool) *progress {
	return &progress{quiet: quiet, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
}

// report draws the state of a stage: done of total.
func (p *progress) report(stage string, done, total int) { p.tell(stage, "", done, total) }

// tell is report with a detail, such as a count of rounds, that may change all
// the time without being news of itself.
func (p *progress) tell(stage, detail string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := 10 * time.Second
	if p.terminal {
		every = 100 * time.Millisecond
	}
	now := time.Now()
	changed := stage != p.stage
	if p.quiet || total == 0 || !changed && done < total && now.Sub(p.last) < every {
		return
	}
	if !p.terminal && !changed && done == total && now.Sub(p.last) < every {
		return
	}
	p.stage, p.last = stage, now
	stage += detail
	if !p.terminal {
		fmt.Fprintf(os.Stderr, "%s: %d of %d\n", stage, done, total)
		return
	}
	const width = 30
	full := done * width / total
	fmt.Fprintf(os.Stderr, "\r\x1b[K%-28s [%s%s] %d/%d", stage, strings.Repeat("#", full), strings.Repeat(".", width-full), done, total)
	p.drawn = true
}

// clear takes the bar away.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		p.drawn = false
	}
}
