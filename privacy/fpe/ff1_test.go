package fpe_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/privacy/fpe"
)

const (
	key128 = "2B7E151628AED2A6ABF7158809CF4F3C"
	key192 = key128 + "EF4359D8D580AA4F"
	key256 = key192 + "7F036D6F04FC6A94"
)

// The samples that NIST publishes with SP 800-38G.
var samples = []struct {
	key, tweak string
	alphabet   *fpe.Alphabet
	text, want string
}{
	{key128, "", fpe.Digits, "0123456789", "2433477484"},
	{key128, "39383736353433323130", fpe.Digits, "0123456789", "6124200773"},
	{key128, "3737373770717273373737", fpe.Base36, "0123456789abcdefghi", "a9tv40mll9kdu509eum"},
	{key192, "", fpe.Digits, "0123456789", "2830668132"},
	{key192, "39383736353433323130", fpe.Digits, "0123456789", "2496655549"},
	{key192, "3737373770717273373737", fpe.Base36, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"},
	{key256, "", fpe.Digits, "0123456789", "6657667009"},
	{key256, "39383736353433323130", fpe.Digits, "0123456789", "1001623463"},
	{key256, "3737373770717273373737", fpe.Base36, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"},
}

func TestSamples(t *testing.T) {
	for i, s := range samples {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			f, err := fpe.New(unhex(t, s.key), s.alphabet)
			if err != nil {
				t.Fatal(err)
			}
			tweak := unhex(t, s.tweak)
			if got, err := f.Encrypt(s.text, tweak); err != nil || got != s.want {
				t.Errorf("%q, %v instead of %q", got, err, s.want)
			}
			if got, err := f.Decrypt(s.want, tweak); err != nil || got != s.text {
				t.Errorf("%q, %v instead of %q", got, err, s.text)
			}
		})
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type wycheproof struct {
	TestGroups []struct {
		Alphabet string `json:"alphabet"`
		Radix    int    `json:"radix"`
		Tests    []struct {
			ID         int      `json:"tcId"`
			Flags      []string `json:"flags"`
			Key, Tweak string
			Msg, Ct    any
			Result     string
		}
	}
}

func vectors(t *testing.T, name string, to any) {
	t.Helper()
	f, err := os.Open(filepath.Join(need.Data(t, "vectors"), name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(to); err != nil {
		t.Fatal(err)
	}
}

func TestWycheproof(t *testing.T) {
	for _, name := range []string{"base10", "base36", "radix16"} {
		t.Run(name, func(t *testing.T) {
			var file wycheproof
			vectors(t, "wycheproof_aes_ff1_"+name+"_test.json.gz", &file)
			valid, invalid := 0, 0
			for _, g := range file.TestGroups {
				letters := g.Alphabet
				if letters == "" {
					letters = "0123456789abcdefghijklmnopqrstuvwxyz"[:g.Radix]
				}
				alphabet, err := fpe.NewAlphabet(letters)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range g.Tests {
					small := slices.Contains(v.Flags, "SmallMessageSize")
					encrypted, err := check(unhex(t, v.Key), unhex(t, v.Tweak), alphabet, small, v.Msg, v.Ct)
					if (err == nil) != (v.Result == "valid") {
						t.Errorf("%d, %v, %s: %v", v.ID, v.Flags, v.Result, err)
					}
					if v.Result == "valid" {
						valid++
					} else {
						invalid++
					}
					if small { // and by default these are too few
						if _, err := check(unhex(t, v.Key), unhex(t, v.Tweak), alphabet, false, v.Msg, v.Ct); err == nil {
							t.Errorf("%d: a small domain is encrypted to %v", v.ID, encrypted)
						}
					}
				}
			}
			t.Logf("%d valid, %d invalid", valid, invalid)
			if valid < 1000 || invalid < 100 {
				t.Error("vectors are missing")
			}
		})
	}
}

// check encrypts and decrypts a vector, which is a text or a list of numerals.
func check(key, tweak []byte, a *fpe.Alphabet, small bool, msg, ct any) (any, error) {
	f, err := fpe.New(key, a)
	if err != nil {
		return nil, err
	}
	f.Small = small
	if text, ok := msg.(string); ok {
		got, err := f.Encrypt(text, tweak)
		if err != nil {
			return nil, err
		}
		if got != ct {
			return got, fmt.Errorf("encrypted to %q instead of %q", got, ct)
		}
		if back, err := f.Decrypt(got, tweak); err != nil || back != text {
			return got, fmt.Errorf("decrypted to %q: %w", back, err)
		}
		return got, nil
	}
	list, ok := numerals(msg)
	if !ok {
		return nil, fmt.Errorf("not numerals")
	}
	want, _ := numerals(ct)
	got := slices.Clone(list)
	if err := f.EncryptNumerals(got, tweak); err != nil {
		return nil, err
	}
	if !slices.Equal(got, want) {
		return got, fmt.Errorf("encrypted to %d instead of %d", got, want)
	}
	if err := f.DecryptNumerals(got, tweak); err != nil || !slices.Equal(got, list) {
		return got, fmt.Errorf("decrypted to %d: %w", got, err)
	}
	return want, nil
}

func numerals(v any) (x []uint16, ok bool) {
	list, _ := v.([]any)
	for _, n := range list {
		f, _ := n.(float64)
		if f < 0 || f > 65535 {
			return nil, false // has no place among numerals at all
		}
		x = append(x, uint16(f))
	}
	return x, true
}

// The fast path and the one with big numbers must agree where both can be taken:
// what is one letter longer than 64 bits allow is compared by its definition.
func TestRoundTrip(t *testing.T) {
	alphabets := []*fpe.Alphabet{fpe.Digits, fpe.Hex, fpe.Base36, fpe.Upper, wide(t)}
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom(alphabets).Draw(t, "alphabet")
		key := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")
		tweak := rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "tweak")
		x := rapid.SliceOfN(rapid.Uint16Range(0, uint16(a.Len()-1)), 6, 120).Draw(t, "text")
		f, err := fpe.New(key, a)
		if err != nil {
			t.Fatal(err)
		}
		y := slices.Clone(x)
		if err := f.EncryptNumerals(y, tweak); err != nil {
			t.Fatal(err)
		}
		for _, n := range y {
			if int(n) >= a.Len() {
				t.Fatalf("%d: no letter", n)
			}
		}
		if slices.Equal(x, y) && len(x) > 12 {
			t.Fatal("nothing was encrypted")
		}
		if err := f.DecryptNumerals(y, tweak); err != nil || !slices.Equal(x, y) {
			t.Fatalf("%d instead of %d, %v", y, x, err)
		}
	})
}

func wide(t *testing.T) *fpe.Alphabet {
	var b strings.Builder
	for r := rune(0x4e00); r < 0x4e00+20000; r++ {
		b.WriteRune(r)
	}
	a, err := fpe.NewAlphabet(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRefused(t *testing.T) {
	f, err := fpe.New(make([]byte, 32), fpe.Digits)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, text string
		tweak      []byte
		want       string
	}{
		{"nothing", "", nil, "fewer than 1000000"},
		{"short", "12345", nil, "fewer than 1000000"},
		{"letters", "12345678901234x6", nil, "byte 15"},
		{"not UTF-8", "1234567\xff", nil, "byte 8"},
		{"long", strings.Repeat("1", fpe.MaxLength+1), nil, "longer than 4096"},
		{"tweak", "1234567890", make([]byte, fpe.MaxTweak+1), "tweak"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, do := range []func(string, []byte) (string, error){f.Encrypt, f.Decrypt} {
				out, err := do(tc.text, tc.tweak)
				if err == nil || !strings.Contains(err.Error(), tc.want) || out != "" {
					t.Errorf("%q, %v", out, err)
				}
				if err != nil && len(tc.text) > 6 && strings.Contains(err.Error(), tc.text[:6]) {
					t.Errorf("%v: gives the text away", err)
				}
			}
		})
	}
	if err := f.EncryptNumerals([]uint16{1, 2, 3, 4, 5, 6, 10}, nil); err == nil {
		t.Error("a numeral beyond the radix")
	}
	for _, letters := range []string{"", "a", "aa", "ab\xff", "äbä"} {
		if _, err := fpe.NewAlphabet(letters); err == nil {
			t.Errorf("alphabet %q", letters)
		}
	}
}

func TestConcurrent(t *testing.T) {
	f, err := fpe.New(bytes.Repeat([]byte{7}, 32), fpe.Digits)
	if err != nil {
		t.Fatal(err)
	}
	want, err := f.Encrypt("4000001234567899", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 1000 {
				if got, err := f.Encrypt("4000001234567899", nil); err != nil || got != want {
					t.Fatal(got, err)
				}
			}
		})
	}
}

func BenchmarkEncrypt(b *testing.B) {
	for _, text := range []string{"4000001234567899", strings.Repeat("4000001234567899", 3)} {
		b.Run(strconv.Itoa(len(text)), func(b *testing.B) {
			f, err := fpe.New(bytes.Repeat([]byte{7}, 16), fpe.Digits)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := f.Encrypt(text, []byte("card")); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func ExampleFF1() {
	key := bytes.Repeat([]byte{1}, 32) // 32 random bytes, kept secret
	f, err := fpe.New(key, fpe.Digits)
	if err != nil {
		fmt.Println(err)
		return
	}
	masked, _ := f.Encrypt("4000001234567899", []byte("cards of the shop"))
	number, _ := f.Decrypt(masked, []byte("cards of the shop"))
	fmt.Println(masked)
	fmt.Println(number)
	// Output:
	// 7261395879185215
	// 4000001234567899
}
