package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt/store"
)

// One-time codes as every authenticator makes them: RFC 6238 with SHA-1, steps
// of 30 s and six digits.
const (
	totpStep   = 30
	totpDigits = 6
	totpDrift  = 1 // steps before and after the clock's
	totpSeed   = 20
)

// totp is the code of a step (RFC 4226, section 5.3).
func totp(seed []byte, step int64) string {
	m := hmac.New(sha1.New, seed)
	binary.Write(m, binary.BigEndian, step) // to a hash: never fails
	sum := m.Sum(nil)
	at := sum[len(sum)-1] & 15
	n := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", totpDigits, n%1_000_000)
}

// matchTOTP is the step that a code belongs to, or 0. Every step is tried, so
// that the time tells nothing.
func matchTOTP(seed []byte, code string, now time.Time) (step int64) {
	for d := int64(-totpDrift); d <= totpDrift; d++ {
		n := now.Unix()/totpStep + d
		if subtle.ConstantTimeCompare([]byte(totp(seed, n)), []byte(code)) == 1 {
			step = n
		}
	}
	return step
}

// totpURL is what authenticators read from a QR code (Google's key URI format).
func totpURL(service, name string, seed []byte) string {
	q := url.Values{"secret": {base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed)}, "issuer": {service}}
	// Spaces as %20: not all authenticators read a plus.
	return fmt.Sprintf("otpauth://totp/%s:%s?%s", url.PathEscape(service), url.PathEscape(name), strings.ReplaceAll(q.Encode(), "+", "%20"))
}

func newSeed() []byte {
	seed := make([]byte, totpSeed)
	rand.Read(seed) // never fails: crypto/rand
	return seed
}

// takeCode accepts a one-time code, or a recovery code, of an account, once. It
// says which it was.
func (s *Service) takeCode(tx *store.Tx, account, code string) (kind string, err error) {
	if recovery := recoveryCode(code); recovery != "" {
		sum := sha256.Sum256([]byte(recovery))
		n, err := tx.Exec(`DELETE FROM identity_recovery WHERE account = $1 AND digest = $2`, account, sum[:])
		if err == nil && n == 0 {
			err = refuse(Invalid, "no such recovery code, or it was used")
		}
		return "recovery", err
	}
	if code = strings.ReplaceAll(code, " ", ""); len(code) != totpDigits {
		return "", refuse(Invalid, "a code of %d characters", len(code))
	}
	factors, err := readFactors(tx, account, "totp")
	if err != nil {
		return "", err
	}
	for _, f := range factors {
		seed, err := s.seeds.open(f.data, account+" "+f.ID)
		if err != nil {
			return "", refuse(Unavailable, "open the seed of %s: the key is not the one it was sealed with", f.ID)
		}
		step := matchTOTP(seed, code, s.now())
		if step == 0 {
			continue
		}
		n, err := tx.Exec(`UPDATE identity_factors SET step = $2, used = $3 WHERE id = $1 AND step < $2`, f.ID, step, ms(s.now()))
		if err == nil && n == 0 {
			err = refuse(Invalid, "a one-time code that was used")
		}
		return "totp", err
	}
	return "", refuse(Invalid, "a wrong one-time code")
}

const (
	recoveryCodes  = 10
	recoveryLength = 16 // letters of base 32: 80 bits
)

// recoveryCode is a recovery code without what is there to read it by, or "".
func recoveryCode(code string) string {
	code = strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(code))
	if len(code) != recoveryLength {
		return ""
	}
	return code
}

// newRecovery replaces the recovery codes of an account. Their hashes need no
// salt and no work: nobody guesses 80 bits.
func newRecovery(tx *store.Tx, account string) ([]string, error) {
	if _, err := tx.Exec(`DELETE FROM identity_recovery WHERE account = $1`, account); err != nil {
		return nil, err
	}
	codes := make([]string, recoveryCodes)
	for i := range codes {
		c := strings.ToLower(rand.Text()[:recoveryLength])
		sum := sha256.Sum256([]byte(c))
		if _, err := tx.Exec(`INSERT INTO identity_recovery VALUES ($1, $2)`, account, sum[:]); err != nil {
			return nil, err
		}
		codes[i] = fmt.Sprintf("%s-%s-%s-%s", c[:4], c[4:8], c[8:12], c[12:])
	}
	return codes, nil
}
