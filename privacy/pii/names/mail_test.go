package names_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// mailTexts are the shared mails, headers and all.
func mailTexts(tb testing.TB) [][]byte {
	tb.Helper()
	f, err := os.Open(need.Data(tb, "text/spamassassin_sample.jsonl.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	var out [][]byte
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var m struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			tb.Fatal(err)
		}
		out = append(out, []byte(m.Text))
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return out
}
