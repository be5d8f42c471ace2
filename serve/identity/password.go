package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// How passwords are hashed: argon2id as RFC 9106 has it, with what OWASP's
// password storage sheet asks for at least. What a hash was made with stands in
// it; others are made anew at the next login.
const (
	hashMemory = 19 << 10 // KiB
	hashTime   = 2
	hashLanes  = 1
	hashSalt   = 16
	hashLength = 32

	// mostWaiting bounds the logins that wait for their turn, and longestWait
	// for how long.
	mostWaiting = 64
	longestWait = 5 * time.Second

	// NIST SP 800-63B-4, section 3.1.1.2: at least 15 characters where the
	// password may be the only factor, at least 64 allowed, and no rules of
	// composition.
	shortestPassword = 15
	longestPassword  = 512 // bytes
)

// hasher hashes a bounded number of passwords at once.
type hasher struct {
	running, waiting chan struct{}
	nobody           string // the hash of a password that nobody has
}

func newHasher(atOnce int) *hasher {
	h := &hasher{running: make(chan struct{}, atOnce), waiting: make(chan struct{}, mostWaiting+atOnce)}
	h.nobody = hashPassword(rand.Text())
	return h
}

// enter waits for a turn.
func (h *hasher) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.waiting <- struct{}{}:
	default:
		return nil, refuse(Unavailable, "%d logins wait already", mostWaiting)
	}
	ctx, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	select {
	case h.running <- struct{}{}:
		return func() { <-h.running; <-h.waiting }, nil
	case <-ctx.Done():
		<-h.waiting
		return nil, refuse(Unavailable, "wait for a turn to hash a password: %w", ctx.Err())
	}
}

// hash makes the hash of a new password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return hashPassword(password), nil
}

// verify compares a password with a hash. An empty hash, of nobody or of somebody
// without a password, costs as much and never agrees.
func (h *hasher) verify(ctx context.Context, hash, password string) (ok bool, err error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if len(password) > longestPassword {
		password = password[:longestPassword] // no such hash was ever made
	}
	if hash == "" {
		_, err = verifyPassword(h.nobody, password)
		return false, err
	}
	return verifyPassword(hash, password)
}

func hashPassword(password string) string {
	salt := make([]byte, hashSalt)
	rand.Read(salt) // never fails: crypto/rand
	key := argon2.IDKey(normal(password), salt, hashTime, hashMemory, hashLanes, hashLength)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("%s$%s$%s", hashPrefix(), b64.EncodeToString(salt), b64.EncodeToString(key))
}

// hashPrefix is the beginning of hashes made today, in the form that the
// reference implementation of argon2 prints.
func hashPrefix() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d", argon2.Version, hashMemory, hashTime, hashLanes)
}

// outdated reports whether a hash was made with other parameters than today's.
func outdated(hash string) bool { return !strings.HasPrefix(hash, hashPrefix()+"$") }

func verifyPassword(hash, password string) (bool, error) {
	part := strings.Split(hash, "$")
	if len(part) != 6 || part[1] != "argon2id" {
		return false, errors.New("read the hash of a password: it is not argon2id's")
	}
	var version int
	var memory, passes uint32
	var lanes uint8
	if _, err := fmt.Sscanf(part[2]+" "+part[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &lanes); err != nil {
		return false, fmt.Errorf("read the hash of a password: %w", err)
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(part[4])
	key, err2 := base64.RawStdEncoding.Strict().DecodeString(part[5])
	if err := errors.Join(err1, err2); err != nil {
		return false, fmt.Errorf("read the hash of a password: %w", err)
	}
	// The table is ours, but a broken row must not take the machine's memory.
	if version != argon2.Version || memory > 1<<20 || passes < 1 || passes > 16 || lanes < 1 || len(key) < 16 || len(key) > 64 {
		return false, errors.New("read the hash of a password: its parameters are out of bounds")
	}
	got := argon2.IDKey(normal(password), salt, passes, memory, lanes, uint32(len(key)))
	return subtle.ConstantTimeCompare(got, key) == 1, nil
}

// normal lets a password be typed on any keyboard (SP 800-63B-4: NFKC).
func normal(password string) []byte { return norm.NFKC.Bytes([]byte(password)) }

// checkPassword refuses what is guessed first. About names, it asks for those of
// the person and of the service.
func checkPassword(password string, names ...string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case len(password) > longestPassword || !utf8.ValidString(password):
		return input("a password has at most %d bytes of text", longestPassword)
	case n < shortestPassword:
		return input("a password has at least %d characters: a few words that do not belong together do well", shortestPassword)
	}
	plain := fold(password)
	for _, name := range names {
		// What is left without the name must be long enough to be a password.
		name = fold(name)
		if len(name) >= 3 && utf8.RuneCountInString(strings.ReplaceAll(plain, name, "")) < 8 {
			return input("the password is little more than a name")
		}
	}
	if repeats(plain) || runs(plain) || common(plain) {
		return input("the password is among those that are tried first")
	}
	return nil
}

// repeats reports a password made of one part of up to half its length, again
// and again.
func repeats(p string) bool {
	for n := 1; n <= len(p)/2; n++ {
		if strings.TrimPrefix(strings.Repeat(p[:n], len(p)/n+1), p) != strings.Repeat(p[:n], len(p)/n+1) {
			return true
		}
	}
	return false
}

// runs reports a password whose neighbours are mostly neighbours in the alphabet
// or on a keyboard, or the same.
func runs(p string) bool {
	const rows = "abcdefghijklmnopqrstuvwxyz 01234567890 qwertyuiop asdfghjkl zxcvbnm qwertzuiop azertyuiop 1qaz2wsx3edc4rfv5tgb6yhn7ujm"
	near := 0
	for i := range len(p) - 1 {
		pair, back := p[i:i+2], string([]byte{p[i+1], p[i]})
		if p[i] == p[i+1] || strings.Contains(rows, pair) || strings.Contains(rows, back) {
			near++
		}
	}
	return near*3 > len(p)*2
}

// common reports the words that lists of stolen passwords begin with, with
// digits and signs around and between them.
func common(p string) bool {
	words := strings.FieldsFunc(p, func(r rune) bool { return r < 'a' && r < 128 || r > 'z' && r < 128 })
	if len(words) == 0 {
		return true // digits and signs only
	}
	rest := strings.Join(words, "")
	for _, w := range commonWords {
		rest = strings.ReplaceAll(rest, w, "")
	}
	return len(rest) < 4
}

// commonWords are parts of the commonest passwords in published breaches, longer
// before shorter.
var commonWords = []string{
	"iloveyou", "password", "passwort", "princess", "sunshine", "football", "baseball", "superman", "changeme",
	"letmein", "welcome", "qwertyuiop", "asdfghjkl", "zxcvbnm", "administrator", "monkey", "dragon", "master",
	"shadow", "michael", "jordan", "secret", "access", "default", "admin", "azerty", "qwertz", "qwerty", "login",
	"hello", "guest", "trustno", "whatever", "correct", "horse", "battery", "staple", "pass", "word", "abc", "test", "root", "user", "love", "you", "my", "the", "is", "one", "i",
}
