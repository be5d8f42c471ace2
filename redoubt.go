// Package redoubt is the vocabulary of the security system for
// machine-learning models: plain data that its wings speak to one another and
// to the outside, and nothing else.
//
// A [Finding] is something a person should know, with its [Severity] and the
// ATLAS technique behind it. An [Assessment] is the result of the main job,
// in the form of the JSON document "redoubt.assess/v1". The [Digest] ties
// either to the bytes that were examined. A [Principal] is who acts, an [Event]
// what was done or refused.
//
// The work is done in the wings: ml reads, differentiates and runs models;
// attack proposes adversarial points; assess drives the attacks and judges;
// serve puts a guarded model on the network; watch keeps the record; report
// renders what is defined here.
package redoubt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Severity orders findings. Its zero value is Note.
type Severity int

// The severities, least first.
const (
	Note Severity = iota
	Low
	Medium
	High
	Critical
)

var severities = [...]string{"note", "low", "medium", "high", "critical"}

func (s Severity) String() string {
	if s < 0 || int(s) >= len(severities) {
		return fmt.Sprintf("severity(%d)", int(s))
	}
	return severities[s]
}

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a severity's name.
func (s *Severity) UnmarshalText(b []byte) error {
	for i, name := range severities {
		if name == string(b) {
			*s = Severity(i)
			return nil
		}
	}
	return fmt.Errorf("read severity %q: want one of %v", b, severities)
}

// Finding is one thing a person should know.
type Finding struct {
	// Rule is a stable identifier such as "evasion/linf" or
	// "reliability/zero-gradient".
	Rule string `json:"rule"`
	// Title is one line, without a full stop.
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	// Technique is a MITRE ATLAS id such as "AML.T0015", empty when none fits.
	Technique string `json:"technique,omitempty"`
	// Subject is what the finding is about, usually a file.
	Subject string `json:"subject,omitempty"`
	// Offset is the byte of the subject where it stands, 0 where that has no
	// meaning.
	Offset int64 `json:"offset,omitempty"`
	// Evidence is what was measured, in a sentence with its numbers.
	Evidence string `json:"evidence,omitempty"`
	// Remedy is what to do about it.
	Remedy string `json:"remedy,omitempty"`
}

// Digest is a SHA-256 in lower-case hexadecimal.
type Digest string

// DigestBytes is the digest of b.
func DigestBytes(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest(hex.EncodeToString(sum[:]))
}

// DigestFile is the digest of a file's content, read as a stream.
func DigestFile(path string) (Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest %s: %w", path, err)
	}
	return Digest(hex.EncodeToString(h.Sum(nil))), nil
}

// The kinds of error that decide a verb's exit code. Wrap with %w.
var (
	// ErrGate: the work was done and something failed its gate (exit 1).
	ErrGate = errors.New("gate failed")
	// ErrUndecided: the work was done and nothing could be concluded (exit 3).
	ErrUndecided = errors.New("could not decide")
)
