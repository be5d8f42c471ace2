package seal

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The doubles below stand for services that cannot be had in a test. They hold
// keys and really encrypt, and they check what the real ones check, by code of
// their own: tokens, signatures, forms and checksums.

// double serves do with TLS. It returns the settings with which a key finds it, and
// a switch that has it fail.
func double(t *testing.T, do http.HandlerFunc) (settings string, lost *atomic.Bool) {
	t.Helper()
	lost = new(atomic.Bool)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lost.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		do(w, r)
	}))
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return "endpoint=" + s.URL + "&ca=" + ca, lost
}

func answer(w http.ResponseWriter, code int, v any) {
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}

func gcmOf(t *testing.T) cipher.AEAD {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const exampleKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

// The test suite of AWS for Signature Version 4.
func TestAWSSignatures(t *testing.T) {
	t.Setenv("ID", "AKIDEXAMPLE")
	t.Setenv("KEY", exampleKey)
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, c := range []struct {
		name, method, contentType, body, session, want string
	}{
		{"get-vanilla", "GET", "", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"post-vanilla", "POST", "", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-x-www-form-urlencoded", "POST", "application/x-www-form-urlencoded", "Param1=value1", "", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		{"post-sts-header-before", "POST", "", "", "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
	} {
		r, err := http.NewRequest(c.method, "https://example.amazonaws.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		t.Setenv("SESSION", c.session)
		if err := (awsCredentials{"env:ID", "env:KEY", "env:SESSION"}).sign(r, []byte(c.body), at, "us-east-1", "service"); err != nil {
			t.Fatal(err)
		}
		if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// awsSigned checks a signature from the request as it came.
func awsSigned(r *http.Request, body []byte) error {
	var credential, signed, signature string
	for f := range strings.SplitSeq(strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signed = value
		case "Signature":
			signature = value
		}
	}
	date, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(date).Abs() > 5*time.Minute {
		return fmt.Errorf("the date %v", date)
	}
	day := date.Format("20060102")
	if credential != "AKIDEXAMPLE/"+day+"/eu-west-1/kms/aws4_request" {
		return fmt.Errorf("the credential %q", credential)
	}
	names := strings.Split(signed, ";")
	for _, needed := range []string{"host", "x-amz-date", "x-amz-target", "x-amz-security-token"} {
		if !slices.Contains(names, needed) {
			return fmt.Errorf("%s is not signed", needed)
		}
	}
	text := r.Method + "\n" + r.URL.Path + "\n" + r.URL.RawQuery + "\n"
	for _, n := range names {
		value := r.Header.Get(n)
		if n == "host" {
			value = r.Host
		}
		text += n + ":" + value + "\n"
	}
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	text += "\n" + signed + "\n" + hash(string(body))
	text = "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + day + "/eu-west-1/kms/aws4_request\n" + hash(text)
	key := []byte("AWS4" + exampleKey)
	for _, p := range []string{day, "eu-west-1", "kms", "aws4_request", text} {
		m := hmac.New(sha256.New, key)
		io.WriteString(m, p)
		key = m.Sum(nil)
	}
	if hex.EncodeToString(key) != signature {
		return fmt.Errorf("the signature %s", signature)
	}
	return nil
}

func TestAWS(t *testing.T) {
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	a := gcmOf(t)
	fail := func(w http.ResponseWriter, kind string) { answer(w, 400, map[string]string{"__type": kind}) }
	settings, lost := double(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := awsSigned(r, body); err != nil {
			fail(w, "InvalidSignatureException")
			return
		}
		var in struct {
			KeyId             string
			Plaintext         []byte
			CiphertextBlob    []byte
			EncryptionContext map[string]string
		}
		if json.Unmarshal(body, &in) != nil || in.KeyId != arn || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
			fail(w, "NotFoundException")
			return
		}
		if len(in.EncryptionContext) != 1 || r.URL.Path != "/" {
			fail(w, "com.amazonaws.kms#ValidationException")
			return
		}
		context, _ := json.Marshal(in.EncryptionContext)
		switch r.Header.Get("X-Amz-Target") {
		case "TrentService.Encrypt":
			answer(w, 200, map[string]any{"KeyId": arn, "CiphertextBlob": a.Seal(nil, nil, in.Plaintext, context)})
		case "TrentService.Decrypt":
			plain, err := a.Open(nil, nil, in.CiphertextBlob, context)
			if err != nil {
				fail(w, "InvalidCiphertextException")
				return
			}
			answer(w, 200, map[string]any{"KeyId": arn, "Plaintext": plain})
		default:
			fail(w, "UnknownOperationException")
		}
	})
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", exampleKey)
	t.Setenv("AWS_SESSION_TOKEN", "a session")
	k := open(t, "aws:"+arn+"?"+settings)
	suite(t, k)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	cannot(t, k, "the credentials are wrong")
	t.Setenv("AWS_SECRET_ACCESS_KEY", exampleKey)
	cannot(t, open(t, strings.Replace("aws:"+arn+"?"+settings, "1234abcd", "0000abcd", 1)), "there is no such key")
	lost.Store(true)
	cannot(t, k, "503")
}

func TestAzure(t *testing.T) {
	versions := map[string]*rsa.PrivateKey{"aaaa1111": rsaKey(t), "bbbb2222": rsaKey(t)}
	current, logins := "aaaa1111", 0
	settings, lost := double(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tenant-1/oauth2/v2.0/token" {
			r.ParseForm()
			if r.Form.Get("client_id") != "app" || r.Form.Get("client_secret") != "sesame" || r.Form.Get("scope") != "https://vault.azure.net/.default" || r.Form.Get("grant_type") != "client_credentials" {
				answer(w, 401, map[string]string{"error": "invalid_client"})
				return
			}
			logins++
			w.Header().Set("Content-Type", "application/json")
			answer(w, 200, map[string]any{"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600})
			return
		}
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			answer(w, 401, map[string]string{"error": "Unauthorized"})
			return
		}
		var in struct{ Alg, Value string }
		body, _ := io.ReadAll(r.Body)
		value, err := []byte(nil), json.Unmarshal(body, &in)
		if err == nil {
			value, err = base64.RawURLEncoding.DecodeString(in.Value)
		}
		if err != nil || in.Alg != "RSA-OAEP-256" || r.URL.Query().Get("api-version") == "" {
			answer(w, 400, map[string]string{"error": "BadParameter"})
			return
		}
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/") // keys, name, [version,] operation
		version := current
		if len(parts) == 4 {
			version = parts[2]
		}
		key := versions[version]
		if len(parts) < 3 || parts[0] != "keys" || parts[1] != "models" || key == nil {
			answer(w, 404, map[string]string{"error": "KeyNotFound"})
			return
		}
		var out []byte
		switch parts[len(parts)-1] {
		case "wrapkey":
			out, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, value, nil)
		case "unwrapkey":
			out, err = rsa.DecryptOAEP(sha256.New(), nil, key, value, nil)
		default:
			err = fmt.Errorf("no such operation")
		}
		if err != nil {
			answer(w, 400, map[string]string{"error": "BadParameter"})
			return
		}
		answer(w, 200, map[string]string{"kid": "https://v.vault.azure.net/keys/models/" + version, "value": base64.RawURLEncoding.EncodeToString(out)})
	})
	address := strings.TrimPrefix(settings[:strings.Index(settings, "&")], "endpoint=")
	t.Setenv("SECRET", "sesame")
	text := "azure://v.vault.azure.net/keys/models?tenant=tenant-1&client_id=app&client_secret=env:SECRET&login=" + address + "&" + settings
	k := open(t, text)
	suite(t, k)
	if logins != 1 {
		t.Errorf("%d logins", logins)
	}
	// The service rotates: what was wrapped unwraps under its own version.
	wrapped, err := k.Wrap(t.Context(), make([]byte, keySize), loans.associated())
	if err != nil {
		t.Fatal(err)
	}
	current = "bbbb2222"
	if _, err := k.Unwrap(t.Context(), wrapped, loans.associated()); err != nil {
		t.Errorf("the version before: %v", err)
	}
	suite(t, k)
	t.Setenv("TOKEN", "t0ken")
	suite(t, open(t, "azure://v.vault.azure.net/keys/models?token=env:TOKEN&"+settings))
	t.Setenv("TOKEN", "other")
	if _, err := open(t, "azure://v.vault.azure.net/keys/models?token=env:TOKEN&"+settings).Wrap(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a wrong token: %v", err)
	}
	t.Setenv("SECRET", "wrong")
	if _, err := open(t, text).Wrap(t.Context(), nil, nil); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("with a wrong secret: %v", err)
	}
	lost.Store(true)
	if _, err := k.Unwrap(t.Context(), wrapped, loans.associated()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("lost: %v", err)
	}
}

func TestGoogle(t *testing.T) {
	const name = "projects/p-1/locations/europe-west1/keyRings/r/cryptoKeys/models"
	a, account := gcmOf(t), rsaKey(t)
	var address string
	settings, lost := double(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/token" {
			form, _ := url.ParseQuery(string(body))
			if err := assertion(form, &account.PublicKey, address+"/token"); err != nil {
				answer(w, 400, map[string]string{"error": "invalid_grant", "error_description": err.Error()})
				return
			}
			w.Header().Set("Content-Type", "application/json")
			answer(w, 200, map[string]any{"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600})
			return
		}
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			answer(w, 401, map[string]any{"error": map[string]any{"status": "UNAUTHENTICATED"}})
			return
		}
		var in struct {
			Plaintext, Ciphertext, AdditionalAuthenticatedData                   []byte
			PlaintextCrc32c, CiphertextCrc32c, AdditionalAuthenticatedDataCrc32c string
		}
		if json.Unmarshal(body, &in) != nil || !summed(in.Plaintext, in.PlaintextCrc32c) || !summed(in.Ciphertext, in.CiphertextCrc32c) || !summed(in.AdditionalAuthenticatedData, in.AdditionalAuthenticatedDataCrc32c) {
			answer(w, 400, map[string]any{"error": map[string]any{"status": "INVALID_ARGUMENT"}})
			return
		}
		switch r.URL.Path {
		case "/v1/" + name + ":encrypt":
			out := a.Seal(nil, nil, in.Plaintext, in.AdditionalAuthenticatedData)
			answer(w, 200, map[string]any{"name": name + "/cryptoKeyVersions/1", "ciphertext": out, "ciphertextCrc32c": fmt.Sprint(crc(out))})
		case "/v1/" + name + ":decrypt":
			out, err := a.Open(nil, nil, in.Ciphertext, in.AdditionalAuthenticatedData)
			if err != nil {
				answer(w, 400, map[string]any{"error": map[string]any{"status": "INVALID_ARGUMENT"}})
				return
			}
			answer(w, 200, map[string]any{"plaintext": out, "plaintextCrc32c": fmt.Sprint(crc(out))})
		default:
			answer(w, 404, map[string]any{"error": map[string]any{"status": "NOT_FOUND"}})
		}
	})
	address = strings.TrimPrefix(settings[:strings.Index(settings, "&")], "endpoint=")
	pkcs8, err := x509.MarshalPKCS8PrivateKey(account)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "sealer@p-1.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), "token_uri": address + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	k := open(t, "gcp:"+name+"?credentials=file:"+file+"&"+settings)
	suite(t, k)
	t.Setenv("TOKEN", "t0ken")
	suite(t, open(t, "gcp:"+name+"?token=env:TOKEN&"+settings))
	t.Setenv("TOKEN", "other")
	cannot(t, open(t, "gcp:"+name+"?token=env:TOKEN&"+settings), "a wrong token")
	t.Setenv("ACCOUNT", "{}")
	cannot(t, open(t, "gcp:"+name+"?credentials=env:ACCOUNT&"+settings), "credentials of another form")
	lost.Store(true)
	cannot(t, k, "503")
}

// summed checks a checksum, which CRC-32C's definition is computed by bit by bit.
func summed(b []byte, text string) bool {
	if len(b) == 0 && text == "" {
		return true
	}
	c := ^uint32(0)
	for _, v := range b {
		c ^= uint32(v)
		for range 8 {
			c = c>>1 ^ 0x82f63b78*(c&1)
		}
	}
	return text == fmt.Sprint(^c)
}

// assertion checks a JWT by which a service account asks for a token (RFC 7523).
func assertion(form url.Values, key *rsa.PublicKey, audience string) error {
	parts := strings.Split(form.Get("assertion"), ".")
	if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || len(parts) != 3 {
		return fmt.Errorf("the grant %q", form.Get("grant_type"))
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
		return err
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var c struct {
		Iss, Aud, Scope string
		Exp             int64
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return err
	}
	if c.Iss != "sealer@p-1.iam.gserviceaccount.com" || c.Aud != audience || c.Scope != "https://www.googleapis.com/auth/cloudkms" || c.Exp < time.Now().Unix() {
		return fmt.Errorf("the claims %+v", c)
	}
	return nil
}
