package seal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
)

// softhsm is the module of SoftHSM with a new token, whose PIN is in the
// environment.
func softhsm(t *testing.T, token string) string {
	t.Helper()
	module := ""
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			module = path
		}
	}
	if module == "" {
		need.Missing(t, "softhsm", "SoftHSM 2")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	t.Setenv("PKCS11_PIN", "1234")
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", token, "--pin", "1234", "--so-pin", "4321").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return module
}

func TestHSM(t *testing.T) {
	module := softhsm(t, "re doubt")
	text := "pkcs11:token=re%20doubt;object=models?module-path=" + module
	if err := MakeKey(text, ""); err != nil {
		t.Fatal(err)
	}
	if err := MakeKey(text, ""); err == nil || !strings.Contains(err.Error(), "there is a key of this name") {
		t.Errorf("a second key of the name: %v", err)
	}
	k := open(t, text)
	suite(t, k)
	// Another key of the same token does not unwrap.
	second := strings.Replace(text, "object=models", "object=second", 1)
	if err := MakeKey(second, ""); err != nil {
		t.Fatal(err)
	}
	wrapped, err := k.Wrap(t.Context(), make([]byte, keySize), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, second).Unwrap(t.Context(), wrapped, nil); err == nil {
		t.Error("another key unwraps it")
	}
	cannot(t, open(t, strings.Replace(text, "object=models", "object=none", 1)), "there is no such key")
	cannot(t, open(t, strings.Replace(text, "re%20doubt", "none", 1)), "there is no such token")
	t.Setenv("PKCS11_PIN", "9999")
	cannot(t, k, "the PIN is wrong")
	t.Setenv("PKCS11_PIN", "1234")
	if _, err := k.Unwrap(t.Context(), wrapped, nil); err != nil {
		t.Errorf("the PIN is right again: %v", err)
	}
}

func eventually(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for range 200 {
		if err = do(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal(err)
}
