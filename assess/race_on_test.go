//go:build race

package assess

import "time"

// proofTime is what a sample's proof may take in tests, under the race detector,
// which makes one ten times as long.
const proofTime = 5 * time.Second
