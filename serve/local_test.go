package serve

import "testing"

// What is said of a model counts; else its runs fill the processors that the process
// may use, however many goroutines Go was told to run at once.
func TestConcurrency(t *testing.T) {
	for _, c := range []struct{ said, threads, processors, want int }{
		{0, 0, 0, 0}, {0, 0, 2, 2}, {0, 1, 3, 3}, {0, 2, 5, 2}, {0, 8, 4, 1}, {7, 2, 4, 7},
	} {
		m := &Model{Concurrency: c.said, Threads: c.threads}
		if got := m.local("1", c.processors).Concurrency; got != c.want {
			t.Errorf("%+v: concurrency %d", c, got)
		}
	}
}
