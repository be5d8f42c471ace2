package ledger

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

// crashURL tells a child of this test binary which database to work on.
const crashURL = "REDOUBT_TEST_LEDGER"

// child reserves, commits and refunds until it is killed, and says what the
// ledger acknowledged.
func child() {
	url := os.Getenv(crashURL)
	if url == "" {
		return
	}
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	db, err := store.Open(ctx, url)
	fail(err)
	l, err := Open(ctx, db)
	fail(err)
	for i := 0; ; i++ {
		r, err := l.Reserve(ctx, request(fmt.Sprintf("%d-%d", os.Getpid(), i), pure(0.001)))
		fail(err)
		fmt.Println("reserved", r.ID)
		switch i % 3 {
		case 0:
			fail(l.Commit(ctx, r.ID))
			fmt.Println("committed", r.ID)
		case 1:
			fail(l.Refund(ctx, r.ID, "alice", "crash test"))
			fmt.Println("refunded", r.ID)
		}
	}
}

// TestCrash kills processes at random moments, two at a time, and holds the
// ledger against what they had been told.
func TestCrash(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	storetest.Each(t, func(t *testing.T, url string) {
		l := open(t, storetest.Open(t, url))
		create(t, l, budget(500, 0))
		acknowledged := map[string]string{} // last word on each reservation
		var mu sync.Mutex
		for range rounds {
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { crash(t, url, &mu, acknowledged) })
			}
			wg.Wait()
		}
		b := verified(t, l)
		status, held := map[string]string{}, int64(0)
		err := l.db.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(`SELECT id, status FROM privacy_reservations`)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var id, s string
				if err := rows.Scan(&id, &s); err != nil {
					return err
				}
				if status[id] = s; s != "refunded" {
					held++
				}
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range acknowledged {
			// What was under way at the end may have been done and not been told.
			if got := status[id]; got != want && (want != "reserved" || got == "") {
				t.Errorf("reservation %s was acknowledged as %s and is %q", id, want, got)
			}
		}
		if b.Charge.Epsilon != held*units(0.001, epsilonUnit) {
			t.Errorf("charge %d for %d reservations", b.Charge.Epsilon, held)
		}
		if len(acknowledged) == 0 || len(status) > len(acknowledged)+2*rounds {
			t.Errorf("%d reservations, %d acknowledged, of %d processes", len(status), len(acknowledged), 2*rounds)
		}
		t.Logf("%d reservations, %d acknowledged, %d processes killed", len(status), len(acknowledged), 2*rounds)
	})
}

// crash lets a child work for a while and kills it.
func crash(t *testing.T, url string, mu *sync.Mutex, acknowledged map[string]string) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashURL+"="+url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	lines := bufio.NewScanner(out)
	var kill *time.Timer
	for lines.Scan() {
		if kill == nil { // it has begun
			kill = time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { cmd.Process.Kill() })
		}
		word, id, _ := strings.Cut(lines.Text(), " ")
		if word == "error" {
			t.Errorf("a child failed: %s", id)
			break
		}
		mu.Lock()
		acknowledged[id] = word
		mu.Unlock()
	}
	cmd.Process.Kill()
	cmd.Wait() // it was killed
}

// TestServerCrash stops PostgreSQL at once, again and again, while reservations are
// made: what was acknowledged is there afterwards, and nothing else that counts.
func TestServerCrash(t *testing.T) {
	server := storetest.StartPostgres(t)
	l := open(t, storetest.Open(t, server.Database(t)))
	create(t, l, budget(500, 0))
	acknowledged, failed := map[string]bool{}, 0
	for round := range 4 {
		stop := make(chan struct{})
		go func() {
			time.Sleep(time.Duration(50+rand.IntN(200)) * time.Millisecond)
			server.Stop()
			close(stop)
		}()
		for i := 0; ; i++ {
			r, err := l.Reserve(t.Context(), request(fmt.Sprintf("%d-%d", round, i), pure(0.001)))
			if err != nil {
				failed++
				break
			}
			acknowledged[r.ID] = true
		}
		<-stop
		server.Start(t)
	}
	b := verified(t, l)
	made := b.Spenders[0].Count
	if n := int64(len(acknowledged)); n == 0 || made < n || made > n+int64(failed) {
		t.Errorf("%d reservations in the ledger, %d were acknowledged and %d were under way", made, n, failed)
	}
	if b.Charge.Epsilon != made*units(0.001, epsilonUnit) {
		t.Errorf("charge %d for %d reservations", b.Charge.Epsilon, made)
	}
	for id := range acknowledged {
		if err := l.Commit(t.Context(), id); err != nil {
			t.Fatalf("an acknowledged reservation: %v", err)
		}
	}
}
