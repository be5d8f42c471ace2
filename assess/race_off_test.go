//go:build !race

package assess

import "time"

// proofTime is what a sample's proof may take in tests.
const proofTime = time.Second / 2
