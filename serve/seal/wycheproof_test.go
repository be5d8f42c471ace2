package seal

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	aead "github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/redoubt-ml/redoubt/internal/need"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type vector struct {
	ID                         int `json:"tcId"`
	Key, IV, AAD, Msg, CT, Tag hexBytes
	IKM, Salt, Info, OKM       hexBytes
	Size                       uint32
	Result, Comment            string
}

type vectorGroup struct {
	KeySize, IVSize, TagSize int
	Tests                    []vector
}

// vectors calls do for each case of one of Wycheproof's collections.
func vectors(t *testing.T, name string, do func(g vectorGroup, v vector)) {
	t.Helper()
	f, err := os.Open(need.Data(t, "vectors/wycheproof_"+name+"_test.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		NumberOfTests int
		TestGroups    []vectorGroup
	}
	if err := json.NewDecoder(z).Decode(&all); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range all.TestGroups {
		for _, v := range g.Tests {
			do(g, v)
			n++
		}
	}
	if n != all.NumberOfTests || n == 0 {
		t.Errorf("%d of %d cases", n, all.NumberOfTests)
	}
}

// The primitives beneath sealed files and keys are those of Tink and of the
// standard library. These are the vectors that have caught others.
func TestWycheproofAEAD(t *testing.T) {
	for _, p := range []struct {
		name    string
		iv, tag int // in bits, as our files have them
		open    func(key []byte) (tink.AEAD, error)
		most    int // cases of other sizes, which cannot occur
	}{
		{"aes_gcm", 96, 128, func(k []byte) (tink.AEAD, error) { return aead.NewAESGCM(k) }, 250},
		{"xchacha20_poly1305", 192, 128, func(k []byte) (tink.AEAD, error) { return aead.NewXChaCha20Poly1305(k) }, 40},
	} {
		tried, passed := 0, 0
		vectors(t, p.name, func(g vectorGroup, v vector) {
			if g.IVSize != p.iv || g.TagSize != p.tag || g.KeySize == 192 {
				p.most--
				return
			}
			tried++
			a, err := p.open(v.Key)
			if err != nil {
				t.Errorf("%s %d: %v", p.name, v.ID, err)
				return
			}
			got, err := a.Decrypt(append(append(bytes.Clone(v.IV), v.CT...), v.Tag...), v.AAD)
			if (err == nil) != (v.Result == "valid") || err == nil && !bytes.Equal(got, v.Msg) {
				t.Errorf("%s %d (%s, %s): %x %v", p.name, v.ID, v.Result, v.Comment, got, err)
			}
			if err == nil {
				passed++
			}
		})
		if p.most < 0 || tried < 50 || passed == 0 || passed == tried {
			t.Errorf("%s: %d cases tried, %d of them valid", p.name, tried, passed)
		}
		t.Logf("%s: %d cases, %d of them valid", p.name, tried, passed)
	}
}

func TestWycheproofHKDF(t *testing.T) {
	vectors(t, "hkdf_sha256", func(_ vectorGroup, v vector) {
		got, err := subtle.ComputeHKDF("SHA256", v.IKM, v.Salt, v.Info, v.Size)
		if v.Size < 10 && err != nil {
			return // Tink derives no short keys
		}
		if (err == nil) != (v.Result == "valid") || err == nil && !bytes.Equal(got, v.OKM) {
			t.Errorf("%d (%s, %s): %v", v.ID, v.Result, v.Comment, err)
		}
	})
}

func TestWycheproofHMAC(t *testing.T) {
	vectors(t, "hmac_sha256", func(g vectorGroup, v vector) {
		h := hmac.New(sha256.New, v.Key)
		h.Write(v.Msg)
		if hmac.Equal(h.Sum(nil)[:g.TagSize/8], v.Tag) != (v.Result == "valid") {
			t.Errorf("%d (%s, %s)", v.ID, v.Result, v.Comment)
		}
	})
}
