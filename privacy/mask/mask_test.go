package mask_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/mask"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/vault"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.M{M: m}) }

var key = []byte("0123456789abcdef0123456789abcdef")

func settings(t testing.TB) mask.Settings {
	t.Helper()
	record := func(context.Context, redoubt.Event) error { return nil }
	v, err := vault.Open(context.Background(), storetest.Open(t, storetest.SQLite(t)), vault.Config{Key: key, Record: record})
	if err != nil {
		t.Fatal(err)
	}
	err = v.Grant(context.Background(), "dpo", vault.Grant{To: "tester", Types: []string{"*"}, Until: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return mask.Settings{Key: key, Vault: v, Who: "tester", Reason: "test"}
}

func engine(t testing.TB, policy string) *mask.Engine {
	t.Helper()
	p, err := mask.ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	e, err := mask.New(p, settings(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var values = []mask.Value{
	{Text: "Ada Byron", Type: "PERSON", Subject: "4711"},
	{Text: "ANNA-LENA MÜLLER", Type: "PERSON"},
	{Text: "Ирина Волкова", Type: "PERSON"},
	{Text: "4000 0012 3456 7899", Type: "CREDIT_CARD"},
	{Text: "ada@lovelace.org", Type: "EMAIL_ADDRESS"},
	{Text: "12 Rue de la Paix, Apt. 4", Type: "STREET_ADDRESS"},
	{Text: "1980-02-29", Type: "DATE_TIME", Subject: "4711"},
	{Text: "10.1.2.3", Type: "IP_ADDRESS"},
	{Text: "2001:4860:4860::8888", Type: "IP_ADDRESS"},
	{Text: "https://ada.example.net/a/b?c=1", Type: "URL"},
	{Text: "Lovelace & Sons Ltd", Type: "ORGANIZATION"},
	{Text: "Marburg", Type: "LOCATION"},
	{Text: "42", Type: "AGE"},
	{Text: "078-05-1120", Type: "US_SSN"},
	{Text: "x", Type: "OTHER"},
	{Text: "\xff\x00]", Type: "OTHER"},
	{Text: "[PERSON:abc]", Type: "OTHER"},
	{Text: strings.Repeat("1234567890", 40), Type: "OTHER"},
	{Text: "日本語の名前", Type: "PERSON"},
}

// What every method promises.
func TestMethods(t *testing.T) {
	for _, m := range mask.Methods {
		t.Run(m.Name, func(t *testing.T) {
			in := settings(t)
			masker, err := m.New(mask.Rule{Method: m.Name}, in)
			if err != nil {
				t.Fatal(err)
			}
			in.Tenant = "another"
			other, err := m.New(mask.Rule{Method: m.Name}, in)
			if err != nil {
				t.Fatal(err)
			}
			differ := 0
			for _, v := range values {
				out, err := masker.Mask(t.Context(), v)
				if err != nil {
					t.Fatalf("%q: %v", v.Text, err)
				}
				if out == v.Text && m.Name != "keep" {
					t.Errorf("%q of type %s stays as it is", v.Text, v.Type)
				}
				if again, err := masker.Mask(t.Context(), v); err != nil || again != out {
					t.Errorf("%q: %q and %q, %v", v.Text, out, again, err)
				}
				if o, err := other.Mask(t.Context(), v); err == nil && o != out {
					differ++
				}
				r, ok := masker.(mask.Restorer)
				if !ok {
					continue
				}
				if back, err := r.Restore(t.Context(), mask.Value{Text: out, Type: v.Type, Subject: v.Subject}); err != nil || back != v.Text {
					t.Errorf("%q: %q comes back as %q, %v", v.Text, out, back, err)
				}
			}
			switch m.Name {
			case "redact", "partial", "generalise", "keep":
			case "shift": // only the date is moved
				if differ != 1 {
					t.Errorf("%d values differ between tenants", differ)
				}
			default:
				if differ < len(values)/2 {
					t.Errorf("%d of %d values differ between tenants", differ, len(values))
				}
				if _, err := m.New(mask.Rule{Method: m.Name}, mask.Settings{Key: key[:31]}); err == nil {
					t.Error("made without a key")
				}
			}
		})
	}
}

// What must be in the text and what must not.
func TestExact(t *testing.T) {
	for _, tc := range []struct{ rule, typ, text, want string }{
		{"{method: redact}", "PERSON", "Ada Byron", "[PERSON]"},
		{"{method: redact, text: XXX}", "PERSON", "Ada Byron", "XXX"},
		{"{method: partial}", "CREDIT_CARD", "4000001234561234", "************1234"},
		{"{method: partial}", "CREDIT_CARD", "4000-0012-3456-1234", "****-****-****-1234"},
		{"{method: partial, first: 6, last: 4}", "CREDIT_CARD", "4000001234561234", "400000******1234"},
		{"{method: partial}", "EMAIL_ADDRESS", "ada@lovelace.org", "a**@lovelace.org"},
		{"{method: partial}", "US_SSN", "1234", "**34"},
		{"{method: partial}", "PERSON", "x", "*"},
		{"{method: generalise, step: 10}", "AGE", "42", "40-50"},
		{"{method: generalise, step: 10}", "AGE", "forty", "[AGE]"},
		{"{method: generalise}", "DATE_TIME", "29 February 1980", "1980"},
		{"{method: generalise}", "DATE_TIME", "Tuesday", "[DATE_TIME]"},
		{"{method: generalise}", "ZIP_CODE", "35037", "350**"},
		{"{method: generalise}", "IP_ADDRESS", "10.1.2.3", "10.1.2.0/24"},
		{"{method: generalise}", "IP_ADDRESS", "2001:4860:4860::8888", "2001:4860:4860::/48"},
		{"{method: shift}", "DATE_TIME", "1977", "[DATE_TIME]"},
		{"{method: keep}", "AGE", "42", "42"},
		{"{method: surrogate}", "TITLE", "Dr.", "Dr."},
	} {
		t.Run(tc.rule+" "+tc.text, func(t *testing.T) {
			e := engine(t, "types: {"+tc.typ+": "+tc.rule+"}")
			got, err := e.Text(t.Context(), []byte("<"+tc.text+">"), []pii.Finding{{Start: 1, End: 1 + len(tc.text), Type: tc.typ}}, "")
			if err != nil || string(got) != "<"+tc.want+">" {
				t.Errorf("%s, %v instead of <%s>", got, err, tc.want)
			}
		})
	}
}

func TestShift(t *testing.T) {
	e := engine(t, "columns: {a: {method: shift, days: 30}, b: {method: shift, days: 30}}")
	parse := func(s string) time.Time {
		d, err := time.Parse("2006-01-02", s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	field := func(column, text, subject string) string {
		out, err := e.Field(t.Context(), column, mask.Value{Text: text, Subject: subject})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	moved := map[time.Duration]bool{}
	for i := range 40 {
		who := fmt.Sprint(i)
		a, b := parse(field("a", "1999-12-31", who)), parse(field("b", "2000-01-10", who))
		if b.Sub(a) != 10*24*time.Hour {
			t.Errorf("%s: %v and %v are not ten days apart", who, a, b)
		}
		by := a.Sub(parse("1999-12-31"))
		if by == 0 || by.Abs() > 30*24*time.Hour {
			t.Errorf("%s: moved by %v", who, by)
		}
		moved[by] = true
	}
	if len(moved) < 15 {
		t.Errorf("only %d different shifts", len(moved))
	}
	for _, form := range []string{"02.01.2006", "1/2/2006", "January 2, 2006", "2 Jan 2006", "Mon, 2 Jan 2006"} {
		text := time.Date(1980, 3, 20, 0, 0, 0, 0, time.UTC).Format(form)
		if _, err := time.Parse(form, field("a", text, "x")); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if out := field("a", "2001-02-03 04:05:06", "x"); !strings.HasSuffix(out, " 04:05:06") {
		t.Error(out)
	}
}

func TestPerson(t *testing.T) {
	e := engine(t, "types: {PERSON: {method: surrogate}}")
	say := func(s string) string {
		out, err := e.Text(t.Context(), []byte(s), []pii.Finding{{Start: 0, End: len(s), Type: "PERSON"}}, "")
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	whole := say("Martha Jones")
	first, last, _ := strings.Cut(whole, " ")
	if say("Martha") != first || say("Jones") != last || say("martha jones") != strings.ToLower(whole) || say("MARTHA JONES") != strings.ToUpper(whole) {
		t.Errorf("%s: %s %s %s %s", whole, say("Martha"), say("Jones"), say("martha jones"), say("MARTHA JONES"))
	}
	for _, s := range []string{"Jürgen Müller", "Françoise Lefèvre", "Ирина Волков", "John F. Smith", "Ludwig van Beethoven"} {
		t.Logf("%s: %s", s, say(s))
	}
	if out := say("John F. Smith"); len(strings.Fields(out)) != 3 || !strings.Contains(out, ". ") {
		t.Error(out)
	}
	if out := say("Ludwig van Beethoven"); !strings.Contains(out, " van ") {
		t.Error(out)
	}
	if out := say("Ирина Волков"); strings.ContainsFunc(out, func(r rune) bool { return r < 128 && r != ' ' }) {
		t.Error(out)
	}
	bySubject := engine(t, "columns: {name: {method: surrogate, type: EMAIL_ADDRESS, by: subject}}")
	a, err := bySubject.Field(t.Context(), "name", mask.Value{Text: "ada@a.org", Subject: "4711"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bySubject.Field(t.Context(), "name", mask.Value{Text: "ada.byron@b.org", Subject: "4711"})
	if err != nil || strings.Count(a, "@example.") != 1 || a != b {
		t.Error(a, b, err)
	}
}

func luhn(s string) bool {
	sum, n := 0, 0
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		d := int(s[i] - '0')
		if n%2 == 1 {
			d = d/5 + d*2%10
		}
		sum += d
		n++
	}
	return sum%10 == 0
}

// Surrogates and encrypted cards have a right check digit where the card has.
func TestCheckDigit(t *testing.T) {
	in := settings(t)
	in.Valid = func(typ, text string) bool { return luhn(text) }
	p, err := mask.ParsePolicy([]byte(`
columns:
  a: {method: surrogate, type: CREDIT_CARD}
  b: {method: fpe, check: luhn, first: 6, last: 4, type: CREDIT_CARD}
  c: {method: fpe, check: luhn, type: CREDIT_CARD}`))
	if err != nil {
		t.Fatal(err)
	}
	e, err := mask.New(p, in)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		card := rapid.StringMatching(`4[0-9]{3} [0-9]{4} [0-9]{4} [0-9]{4}`).Draw(t, "card")
		for _, column := range []string{"a", "b", "c"} {
			out, err := e.Field(context.Background(), column, mask.Value{Text: card})
			if err != nil || len(out) != len(card) || out == card {
				t.Fatalf("%s: %q, %v", column, out, err)
			}
			if luhn(card) && !luhn(out) {
				t.Fatalf("%s: %q has a wrong check digit", column, out)
			}
			if column == "a" {
				if out[:2] != card[:2] {
					t.Fatalf("%q for %q: another network", out, card)
				}
				continue
			}
			if luhn(card) != luhn(out) {
				t.Fatalf("%s: %q for %q: the check digit tells what was wrong", column, out, card)
			}
			if column == "b" && (out[:7] != card[:7] || out[15:] != card[15:]) {
				t.Fatalf("%q for %q: the ends changed", out, card)
			}
			if back, err := e.RestoreField(context.Background(), column, mask.Value{Text: out}); err != nil || back != card {
				t.Fatalf("%q comes back as %q, %v", out, back, err)
			}
		}
	})
}

// Numbers of JSON come back as numbers.
func TestNumber(t *testing.T) {
	e := engine(t, "default: {method: token}\ncolumns: {id: {method: fpe}}\ntypes: {PERSON: {method: vault}}")
	for _, typ := range []string{"US_SSN", "PERSON"} {
		masked, err := e.Number(t.Context(), []byte("78051120"), []pii.Finding{{Start: 0, End: 4, Type: typ}}, "")
		if err != nil {
			t.Fatal(err)
		}
		if back, n, err := e.Restore(t.Context(), masked); err != nil || string(back) != "78051120" || !n.Number {
			t.Errorf("%s comes back as %s, %+v, %v", masked, back, n, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := fmt.Sprint(rapid.Int64Range(0, 1e15).Draw(t, "number"))
		out, err := e.Field(context.Background(), "id", mask.Value{Text: n, Number: true})
		if err != nil || len(n) >= 6 && (len(out) != len(n) || out[0] == '0') {
			t.Fatalf("%s became %q, %v", n, out, err)
		}
		if back, err := e.RestoreField(context.Background(), "id", mask.Value{Text: out, Number: len(n) >= 6}); err != nil || back != n {
			t.Fatalf("%s became %q and came back as %q, %v", n, out, back, err)
		}
	})
}

// Whatever is in the text, and wherever the findings are: what comes back is what
// went in.
func TestRoundTrip(t *testing.T) {
	e := engine(t, "default: {method: token}\ntypes: {PERSON: {method: vault}}")
	alphabet := rapid.SampledFrom([]string{"a", "[", "]", ":", "#", "PERSON", "é", "\xff", "\n", "[PERSON:", "A", "[X:AAAA]", "=", "[US_SSN=:"})
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		text := []byte(strings.Join(rapid.SliceOfN(alphabet, 0, 40).Draw(t, "text"), ""))
		if rapid.Bool().Draw(t, "masked before") {
			var err error
			if text, err = e.Text(ctx, text, findings(t, len(text)), ""); err != nil {
				t.Fatal(err)
			}
		}
		masked, err := e.Text(ctx, text, findings(t, len(text)), "")
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := e.Restore(ctx, masked)
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%q became %q and came back as %q, %v", text, masked, back, err)
		}
	})
}

func findings(t *rapid.T, size int) (found []pii.Finding) {
	for at := 0; at < size; {
		start := at + rapid.IntRange(0, 5).Draw(t, "gap")
		end := start + rapid.IntRange(1, 9).Draw(t, "length")
		if end > size {
			break
		}
		found = append(found, pii.Finding{Start: start, End: end, Type: rapid.SampledFrom([]string{"PERSON", "US_SSN"}).Draw(t, "type")})
		at = end
	}
	return found
}

func TestForeign(t *testing.T) {
	e := engine(t, "default: {method: token}")
	other := engine(t, "tenant: other\ndefault: {method: token}")
	found := []pii.Finding{{Start: 0, End: 3, Type: "PERSON"}}
	masked, err := other.Text(t.Context(), []byte("Ada"), found, "")
	if err != nil {
		t.Fatal(err)
	}
	back, n, err := e.Restore(t.Context(), masked)
	if err != nil || !bytes.Equal(back, masked) || n != (mask.Restored{Foreign: 1}) {
		t.Errorf("%s, %+v, %v", back, n, err)
	}
	// What texts have in brackets is nobody's token.
	if _, n, err := e.Restore(t.Context(), []byte("[ILUG:12] [a#b] [PERSON:] [x=:y]")); err != nil || n != (mask.Restored{}) {
		t.Errorf("%+v, %v", n, err)
	}
	// A token under the name of another type is nobody's.
	moved := bytes.Replace(masked, []byte("PERSON"), []byte("US_SSN"), 1)
	if back, n, err := other.Restore(t.Context(), moved); err != nil || !bytes.Equal(back, moved) || n.Done != 0 {
		t.Errorf("%s, %+v, %v", back, n, err)
	}
	for i := range masked {
		flipped := slices.Clone(masked)
		flipped[i] ^= 1
		if back, n, err := other.Restore(t.Context(), flipped); err != nil || n.Done != 0 || !bytes.Equal(back, flipped) {
			t.Errorf("byte %d flipped: %s, %+v, %v", i, back, n, err)
		}
	}
}

func TestDenied(t *testing.T) {
	in := settings(t)
	p, err := mask.ParsePolicy([]byte("default: {method: vault}"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := mask.New(p, in)
	if err != nil {
		t.Fatal(err)
	}
	masked, err := e.Text(t.Context(), []byte("Ada"), []pii.Finding{{Start: 0, End: 3, Type: "PERSON"}}, "4711")
	if err != nil {
		t.Fatal(err)
	}
	in.Who = "somebody"
	stranger, err := mask.New(p, in)
	if err != nil {
		t.Fatal(err)
	}
	if out, _, err := stranger.Restore(t.Context(), masked); !errors.Is(err, vault.ErrDenied) || out != nil {
		t.Errorf("%s, %v", out, err)
	}
	if n, err := in.Vault.Erase(t.Context(), "dpo", "", "4711"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if out, n, err := e.Restore(t.Context(), masked); err != nil || n.Foreign != 1 || !bytes.Equal(out, masked) {
		t.Errorf("%s, %+v, %v", out, n, err)
	}
}

func TestPolicyRefused(t *testing.T) {
	for _, tc := range []struct{ name, policy, want string }{
		{"unknown method", "default: {method: rot13}", "must be one of redact"},
		{"no method", "types: {PERSON: {}}", "types.PERSON: method: is missing"},
		{"settings without method", "default: {days: 3}", "no method"},
		{"another's setting", "types: {PERSON: {method: redact, days: 3}}", "days: is no setting of method redact"},
		{"fpe in running text", "types: {US_SSN: {method: fpe}}", "use token or vault"},
		{"unknown field", "types: {US_SSN: {method: redact, colour: red}}", "colour"},
		{"type", "types: {'a b': {method: redact}}", "must be letters"},
		{"column without type", "columns: {'first name': {method: token}}", "give it a type"},
		{"alphabet", "columns: {a: {method: fpe, alphabet: aa}}", "twice"},
		{"check", "columns: {a: {method: fpe, check: mod97}}", "luhn"},
		{"luhn of letters", "columns: {a: {method: fpe, alphabet: hex, check: luhn}}", "of digits"},
		{"days", "types: {DATE_TIME: {method: shift, days: -4}}", "days"},
		{"step", "types: {AGE: {method: generalise, step: -1}}", "positive"},
		{"locale", "types: {PERSON: {method: surrogate, locale: xx}}", "must be one of de, en"},
		{"by", "types: {PERSON: {method: surrogate, by: chance}}", "subject"},
		{"not YAML", "types: [", "[1:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := mask.ParsePolicy([]byte(tc.policy))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v instead of %s", err, tc.want)
			}
		})
	}
	p, err := mask.ParsePolicy([]byte("default: {method: token}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mask.New(p, mask.Settings{}); err == nil || !strings.Contains(err.Error(), "needs a key") {
		t.Error(err)
	}
	if key, vault := p.Needs(); !key || vault {
		t.Error(key, vault)
	}
	e := engine(t, "")
	for _, found := range [][]pii.Finding{{{Start: 0, End: 9}}, {{Start: 2, End: 1}}, {{Start: 0, End: 2}, {Start: 1, End: 3}}} {
		if _, err := e.Text(t.Context(), []byte("abc"), found, ""); err == nil {
			t.Errorf("%v", found)
		}
	}
	if _, err := e.Field(t.Context(), "a", mask.Value{Text: "b"}); err == nil {
		t.Error("a column without a rule")
	}
}

func BenchmarkText(b *testing.B) {
	text := []byte(strings.Repeat("Dear Martha Jones, your card 4000001234567899 is ready. ", 40))
	var found []pii.Finding
	for at := 0; at < len(text); at += 56 {
		found = append(found, pii.Finding{Start: at + 5, End: at + 17, Type: "PERSON"}, pii.Finding{Start: at + 29, End: at + 45, Type: "CREDIT_CARD"})
	}
	for _, m := range []string{"redact", "partial", "hash", "token", "surrogate"} {
		b.Run(m, func(b *testing.B) {
			e := engine(b, "default: {method: "+m+"}")
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := e.Text(b.Context(), text, found, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
