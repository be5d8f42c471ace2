package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkHelp is the time from starting the binary to its end: what a shell
// completion or a mistyped verb costs.
func BenchmarkHelp(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "redoubt")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for b.Loop() {
		if err := exec.Command(bin, "--help").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
