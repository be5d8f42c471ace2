package gateway

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// However turns end, nothing is left of them.
func TestNothingIsLeftOfTurns(t *testing.T) {
	b := newBodies(1000)
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*time.Millisecond)
			defer cancel()
			if end, err := b.take(ctx, fmt.Sprint(i%5), int64(100*(1+i%15))); err == nil {
				time.Sleep(time.Millisecond)
				end()
			}
		})
	}
	callers.Wait()
	if n := len(b.each); n > 0 {
		t.Errorf("%d callers are remembered", n)
	}
	if !b.all.TryAcquire(b.most) {
		t.Error("some bytes were not given back")
	}
}
