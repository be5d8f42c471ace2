package late

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type key struct{}

// What happens to a context and to its parent is seen by both questions that one may
// ask, at the times and with the errors of package context.
func TestAsContext(t *testing.T) {
	for name, wait := range map[string]bool{"asked": false, "waited for": true} {
		for what, do := range map[string]func(cancel, cancelParent func()){
			"nothing":         func(func(), func()) {},
			"cancel":          func(cancel, _ func()) { cancel() },
			"cancel twice":    func(cancel, _ func()) { cancel(); cancel() },
			"parent":          func(_, cancelParent func()) { cancelParent() },
			"parent, cancel":  func(cancel, cancelParent func()) { cancelParent(); cancel() },
			"time":            func(func(), func()) { time.Sleep(time.Second) },
			"time, cancel":    func(cancel, _ func()) { time.Sleep(time.Second); synctest.Wait(); cancel() },
			"cancel, time":    func(cancel, _ func()) { cancel(); time.Sleep(time.Second) },
			"almost the time": func(func(), func()) { time.Sleep(time.Second - time.Nanosecond) },
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, cancelParent := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
					defer cancelParent()
					ctx, cancel := WithTimeout(parent, time.Second)
					want, cancelWant := context.WithTimeout(parent, time.Second)
					if wait {
						ctx.Done()
					}
					do(func() { cancel(); cancelWant() }, cancelParent)
					synctest.Wait()
					// A context that nobody waited for tells what came first as far as it can:
					// the time has no order with what is done at it or later.
					if got := ctx.Err(); got != want.Err() && (wait || got == nil || want.Err() == nil) {
						t.Errorf("the error is %v, want %v", got, want.Err())
					}
					if context.Cause(ctx) != ctx.Err() {
						t.Errorf("the cause is %v, the error %v", context.Cause(ctx), ctx.Err())
					}
					if got, want := ended(ctx), ended(want); got != want {
						t.Errorf("ended: %v, want %v", got, want)
					}
					at, ok := ctx.Deadline()
					if by, _ := want.Deadline(); !ok || at != by {
						t.Errorf("the deadline is %v, want %v", at, by)
					}
					if ctx.Value(key{}) != "v" {
						t.Error("the parent's value is missing")
					}
					cancel()
					cancelWant()
				})
			})
		}
	}
}

func ended(ctx context.Context) bool {
	done := ctx.Done()
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// Children hear of the end, and take no goroutine.
func TestChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		ctx, cancel := WithTimeout(t.Context(), time.Second)
		defer cancel()
		child, stop := context.WithCancel(ctx)
		defer stop()
		var told atomic.Bool
		context.AfterFunc(ctx, func() { told.Store(true) })
		if n := runtime.NumGoroutine(); n != before {
			t.Errorf("%d goroutines more", n-before)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if child.Err() != context.DeadlineExceeded || !told.Load() {
			t.Errorf("the child has %v, told: %v", child.Err(), told.Load())
		}
	})
}

func TestSoonerParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancelParent := context.WithTimeout(t.Context(), time.Second)
		defer cancelParent()
		ctx, cancel := WithTimeout(parent, time.Hour)
		defer cancel()
		if at, ok := ctx.Deadline(); !ok || time.Until(at) != time.Second {
			t.Errorf("the deadline is %v", at)
		}
	})
}

func TestNew(t *testing.T) {
	made := 0
	begin := func() (context.Context, context.CancelFunc) {
		made++
		return context.WithCancel(t.Context())
	}
	ctx, cancel := New(t.Context(), begin)
	if ctx.Err() != nil || made != 0 {
		t.Errorf("error %v, made %d times", ctx.Err(), made)
	}
	if _, ok := ctx.Deadline(); ok {
		t.Error("it has a deadline")
	}
	if first := ctx.Done(); ctx.Done() != first || made != 1 {
		t.Errorf("made %d times", made)
	}
	cancel()
	<-ctx.Done()
	if ctx.Err() != context.Canceled {
		t.Error(ctx.Err())
	}
	ctx, cancel = New(t.Context(), begin)
	cancel()
	if ctx.Err() != context.Canceled || made != 1 {
		t.Errorf("error %v, made %d times", ctx.Err(), made)
	}
	<-ctx.Done()
}

func BenchmarkWithTimeout(b *testing.B) {
	parent, cancel := context.WithCancel(b.Context())
	defer cancel()
	for name, with := range map[string]func(context.Context, time.Duration) (context.Context, context.CancelFunc){"late": WithTimeout, "context": context.WithTimeout} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, cancel := with(parent, time.Minute)
				cancel()
			}
		})
	}
}
