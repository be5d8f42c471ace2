package identity

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
)

func TestTokens(t *testing.T) {
	eachStore(t, nil, func(t *testing.T, b *bench) {
		svc := must(b.CreateService(t.Context(), admin, "Batch", []string{"model_user"}, []string{"g"}))(t)
		tok, secret, err := b.CreateToken(t.Context(), admin, Token{Account: "batch", Name: "nightly", Scopes: []string{"model:loans:invoke"}})
		ok(t, err)
		if life := tok.Expires.Sub(b.Now()); life.Round(time.Hour) != 90*24*time.Hour {
			t.Errorf("it lives for %v", life)
		}
		auth := func(s string) (redoubt.Principal, error) {
			return b.Authenticate(t.Context(), Credentials{Authorization: "bearer " + s})
		}
		p := must(auth(secret))(t)
		if p.ID != svc.ID || p.Method != "token" || p.Credential != tok.ID || !slices.Equal(p.Scopes, tok.Scopes) || !slices.Equal(p.Roles, svc.Roles) || p.Groups[0] != "g" {
			t.Errorf("got %+v", p)
		}
		if !LooksLikeToken(secret) || LooksLikeToken(secret[:39]+"!") || LooksLikeToken("rdt_") {
			t.Error("the checksum does not tell tokens from chance")
		}
		for _, bad := range []string{secret[:39], secret + "x", strings.ToUpper(secret), "rdt_" + strings.Repeat("0", 36), secret[:4] + "\x00" + secret[5:]} {
			_, err := auth(bad)
			wants(t, err, Invalid, bad)
		}
		if used := b.Tokens(svc.ID)[0].Used; !used.Equal(b.Now().Truncate(time.Minute)) {
			t.Errorf("used %v", used)
		}
		ok(t, b.flush(t.Context()))

		b.advance(90*24*time.Hour - time.Second)
		ok(t, errOf(auth(secret)))
		b.advance(2 * time.Second)
		wants(t, errOf(auth(secret)), Expired, "after 90 days")

		_, second, err := b.CreateToken(t.Context(), admin, Token{Account: svc.ID, Name: "n"})
		ok(t, err)
		ok(t, errOf(auth(second)))
		ok(t, b.SetAccount(t.Context(), admin, svc.ID, nil, nil, true))
		wants(t, errOf(auth(second)), Invalid, "disabled")
		ok(t, b.SetAccount(t.Context(), admin, svc.ID, nil, nil, false))
		wants(t, errOf(auth(second)), Invalid, "enabled again, but the token was revoked")
	})
}

func errOf[T any](_ T, err error) error { return err }

func TestTokensAreBounded(t *testing.T) {
	b := over(t, nil)
	must(b.CreateService(t.Context(), admin, "s", nil, nil))(t)
	narrow := redoubt.Principal{ID: "service:x", Scopes: []string{"model:a:*"}}
	for what, c := range map[string]struct {
		by  redoubt.Principal
		tok Token
	}{
		"no name":      {admin, Token{Account: "s"}},
		"no account":   {admin, Token{Account: "nobody", Name: "n"}},
		"two years":    {admin, Token{Account: "s", Name: "n", Expires: b.Now().Add(2 * longestLife)}},
		"past":         {admin, Token{Account: "s", Name: "n", Expires: b.Now().Add(-1)}},
		"no scope":     {admin, Token{Account: "s", Name: "n", Scopes: []string{"everything"}}},
		"empty part":   {admin, Token{Account: "s", Name: "n", Scopes: []string{"model::invoke"}}},
		"many scopes":  {admin, Token{Account: "s", Name: "n", Scopes: slices.Repeat([]string{"model:a:b"}, 101)}},
		"wider":        {narrow, Token{Account: "s", Name: "n", Scopes: []string{"model:*:invoke"}}},
		"without":      {narrow, Token{Account: "s", Name: "n"}},
		"another":      {narrow, Token{Account: "s", Name: "n", Scopes: []string{"model:a:x", "model:b:x"}}},
		"control char": {admin, Token{Account: "s", Name: "a\nb"}},
	} {
		if _, secret, err := b.CreateToken(t.Context(), c.by, c.tok); err == nil || secret != "" {
			t.Errorf("%s: made a token", what)
		}
	}
	if _, _, err := b.CreateToken(t.Context(), narrow, Token{Account: "s", Name: "n", Scopes: []string{"model:a:invoke"}}); err != nil {
		t.Error(err)
	}
}

// Using tokens, changing accounts and writing down use do not meet (for -race),
// and the last use survives.
func TestTokensConcurrently(t *testing.T) {
	b := over(t, nil)
	svc := must(b.CreateService(t.Context(), admin, "s", nil, nil))(t)
	_, secret, err := b.CreateToken(t.Context(), admin, Token{Account: "s", Name: "n"})
	ok(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := b.Authenticate(t.Context(), Credentials{Authorization: "Bearer " + secret}); err != nil {
					t.Error(err)
				}
				b.advance(time.Second)
			}
		})
	}
	for i := range 5 {
		ok(t, b.SetAccount(t.Context(), admin, svc.ID, []string{string(rune('a' + i))}, nil, false))
		ok(t, b.flush(t.Context()))
	}
	wg.Wait()
	ok(t, b.flush(t.Context()))
	fresh := setUp(t, b.db, nil)
	if used := fresh.Tokens("")[0].Used; b.Now().Sub(used) > 3*time.Minute {
		t.Errorf("used at %v, now it is %v", used, b.Now())
	}
}

func BenchmarkToken(b *testing.B) {
	s := over(b, nil)
	must(s.CreateService(b.Context(), admin, "s", []string{"model_user"}, nil))(b)
	_, secret, err := s.CreateToken(b.Context(), admin, Token{Account: "s", Name: "n", Scopes: []string{"model:*:*"}})
	ok(b, err)
	c, ctx := Credentials{Authorization: "Bearer " + secret}, context.Background()
	s.cfg.Now, s.now = time.Now, time.Now
	s.state.tokenIDs[s.Tokens("")[0].ID].Expires = time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
}
