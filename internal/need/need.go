// Package need finds what a test cannot do without, and skips the test with
// one line naming it when it is absent. Where REDOUBT_REQUIRE names the need
// ("data", "ort", "postgres", ... or "all"), as in .ci/run, the test fails
// instead, so that a skipped test never hides behind a green run.
package need

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Data is the path of a file or folder of the shared test data, which stands
// beside the checkout as ../shared/data or where REDOUBT_TESTDATA says.
func Data(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("REDOUBT_TESTDATA")
	if dir == "" {
		dir = filepath.Join(Root(t), "..", "shared", "data")
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		Missing(t, "data", "shared test data "+name)
	}
	return path
}

// Missing ends the test because something is absent: it skips, or fails where
// REDOUBT_REQUIRE demands what.
func Missing(t testing.TB, what, description string) {
	t.Helper()
	if Demanded(what) {
		t.Fatalf("needs %s, which REDOUBT_REQUIRE demands and which is absent", description)
	}
	t.Skipf("needs %s: absent", description)
}

// Demanded reports whether REDOUBT_REQUIRE names a need.
func Demanded(what string) bool {
	required := strings.Split(os.Getenv("REDOUBT_REQUIRE"), ",")
	return slices.Contains(required, what) || slices.Contains(required, "all")
}

// Root is the module's root folder.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}
