package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
)

func TestNothingInjected(t *testing.T) {
	nasty := "a\nb\r\x00\x1b[2Jc\x7f\u009b31m\u202e\u2028\u00e9\U0001f600\xff\"\\}</script>"
	dir := t.TempDir()
	l := open(t, dir, Config{})
	record(t, l, redoubt.Event{Action: nasty, Outcome: redoubt.Outcome(nasty), Reason: nasty, Actor: nasty, Resource: nasty, Details: map[string]string{nasty: nasty}})
	shut(t, l)
	data, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range data {
		if (b < ' ' || b > '~') && i != len(data)-1 {
			t.Fatalf("byte %d is %#x", i, b)
		}
	}
	got := all(t, dir, Filter{})[0]
	if want := strings.ToValidUTF8(nasty, "\ufffd"); got.Reason != want || got.Details[want] != want {
		t.Errorf("%q, want %q", got.Reason, want)
	}
}

func TestLimitsOnFields(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	long := strings.Repeat("\u0001", 1<<20)
	details := map[string]string{}
	for i := range 100 {
		details[fmt.Sprint(i, long[:9000])] = long[:9000]
	}
	record(t, l, redoubt.Event{Action: long, Reason: long, Actor: long, Resource: long, Before: long, After: long, Details: details, Time: time.Unix(1<<60, 0)})
	shut(t, l)
	info, err := os.Stat(filepath.Join(dir, segmentName(1)))
	if err != nil || info.Size() > maxLine {
		t.Error(info.Size(), err)
	}
	e := all(t, dir, Filter{})[0]
	if mark := fmt.Sprintf(" [cut from 1048576 bytes, sha256 %x]", sha256.Sum256([]byte(long))); !strings.HasSuffix(e.Reason, mark) || len(e.Reason) != maxField+len(mark) {
		t.Errorf("%q", e.Reason[maxField-4:])
	}
	if len(e.Details) != maxDetails || time.Since(e.Time) > time.Minute {
		t.Errorf("%d details, at %v", len(e.Details), e.Time)
	}
	if _, err := Verify(t.Context(), dir, Trust{}); err != nil {
		t.Error(err)
	}
}

// What the gateway and its clients call a request is what the record calls it: a
// mask that mistook one id in five hundred for a card lost those from searches.
func TestRandomIDsStay(t *testing.T) {
	for range 20_000 {
		id := make([]byte, 16)
		rand.Read(id)
		plain := hex.EncodeToString(id)
		for _, id := range []string{plain, plain[:8] + "-" + plain[8:12] + "-" + plain[12:16] + "-" + plain[16:20] + "-" + plain[20:]} {
			if got := mask(id); got != id {
				t.Fatalf("%s is masked as %s", id, got)
			}
		}
	}
}

func TestMask(t *testing.T) {
	for s, want := range map[string]string{
		"": "",
		// Identifiers that have digits as a card could, and what only looks like some.
		"ca4111111111111111f06d5e2ab7093c":                                "ca4111111111111111f06d5e2ab7093c",
		"job-41111111-1111-1111-9f3b-0a5de7b9c21c":                        "job-41111111-1111-1111-9f3b-0a5de7b9c21c",
		"id 41111111-1111-1111-9f3b-0a5de7b9c21c.":                        "id 41111111-1111-1111-9f3b-0a5de7b9c21c.",
		"sha256 " + strings.Repeat("4111111111111111beefbeef00cafe00", 2): "sha256 " + strings.Repeat("4111111111111111beefbeef00cafe00", 2),
		strings.Repeat("4111111111111111-", 2):                            strings.Repeat("************1111-", 2),
		"ab4111111111111111":                                              "ab************1111",
		"zca4111111111111111f06d5e2ab7093c":                               "zca************1111f06d5e2ab7093c",
		"card 4111111111111111.":                                          "card ************1111.",
		"4111 1111 1111 1111":                                             "**** **** **** 1111",
		"4111-1111-1111-1111 and 5500005555555559":                        "****-****-****-1111 and ************5559",
		"378282246310005":                                                 "***********0005",
		"4111111111111112":                                                "4111111111111112", // no card number
		"order 12345678901":                                               "order 12345678901",
		"4111111111111111 2026":                                           "************1111 2026",
		"paid 2026 4111111111111111":                                      "paid 2026 ************1111",
		"4111111111111111\n4111111111111111":                              "************1111\n************1111",
		"at 1763812345678901234 ns":                                       "at 1763812345678901234 ns",
		"mail anna.b+c@example.com!":                                      "mail a***@example.com!",
		"@ at the end@":                                                   "@ at the end@",
		"robust_accuracy[linf@0.3]>=0.5, l2@1":                            "robust_accuracy[linf@0.3]>=0.5, l2@1",
		"root@10.0.0.1, a@1.example":                                      "r***@10.0.0.1, a***@1.example",
		"zoë@example.com":                                                 "z***@example.com",
		"authorization: BeArEr abcdefgh12345":                             "authorization: BeArEr ***",
		"Bearer of news":                                                  "Bearer of news",
		"eyJhbGciOiJIUzI1NiJ9.e30.abc":                                    "eyJ***",
		"Basic dXNlcjpwYXNz and basic dXNlcjpwYXNz":                       "Basic *** and basic ***",
	} {
		if got := mask(s); got != want {
			t.Errorf("%q is masked as %q, want %q", s, got, want)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("policy.change", "user:a", "4111 1111 1111 1111", "x@y.z", int64(0))
	f.Add("\x00\n\u2028", "\xff\xfe", "Bearer abcdefghijkl", "\U0010ffff", int64(1)<<62)
	f.Fuzz(func(t *testing.T, action, actor, reason, detail string, nanos int64) {
		e := presentable(redoubt.Event{ID: "1", Time: time.Unix(0, nanos), Action: action, Actor: actor, Reason: reason, Details: map[string]string{detail: reason}}, nil)
		event := appendEvent(nil, &e)
		b := appendLine(nil, 1, link{}.next(1, event), event)
		if len(b) > maxLine || bytes.IndexByte(b, '\n') != len(b)-1 {
			t.Fatalf("%q is no line", b)
		}
		l, err := parseLine(b[:len(b)-1])
		if err != nil || l.follows(0, link{}) != nil {
			t.Fatal(err, l)
		}
		if again, _, err := l.decode(); err != nil || !bytes.Equal(appendEvent(nil, &again), event) {
			t.Fatalf("%s: %v", event, err)
		}
	})
}

func FuzzLine(f *testing.F) {
	e := deed(1)
	event := appendEvent(nil, &e)
	f.Add(appendLine(nil, 1, link{}.next(1, event), event))
	f.Add([]byte(`{"seq":1,"hash":"`))
	f.Add([]byte(`{"seq":9223372036854775807,"hash":"0000000000000000000000000000000000000000000000000000000000000000","event":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.TrimSuffix(b, []byte("\n"))
		l, err := parseLine(b)
		if err != nil {
			return
		}
		if again := appendLine(nil, l.seq, l.hash, l.event); !bytes.Equal(again[:len(again)-1], b) {
			t.Errorf("%q is read as %q", b, again)
		}
		if _, _, err := l.decode(); err == nil && bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q holds what no entry does", b)
		}
	})
}
