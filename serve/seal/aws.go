package seal

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

var awsKeys = &Provider{
	Scheme: "aws",
	Doc:    "a symmetric key of AWS KMS, by Encrypt and Decrypt with an encryption context",
	Form:   "aws:arn:aws:kms:REGION:ACCOUNT:key/ID, with the credentials in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or where id=, secret= and session= say",
	open:   openAWS,
}

type awsKey struct {
	service *service
	arn     string
}

var awsARN = regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):kms:([a-z0-9-]+):[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+$`)

func openAWS(u *uri) (Key, error) {
	m := awsARN.FindStringSubmatch(u.rest)
	if m == nil {
		return nil, errors.New("write it as aws:arn:aws:kms:REGION:ACCOUNT:key/ID")
	}
	domain := "amazonaws.com"
	if m[1] == "aws-cn" {
		domain = "amazonaws.com.cn"
	}
	s, err := u.newService("https://kms." + m[2] + "." + domain)
	if err != nil {
		return nil, err
	}
	c := awsCredentials{}
	for _, f := range []struct {
		to              *secret
		name, otherwise string
	}{{&c.id, "id", "env:AWS_ACCESS_KEY_ID"}, {&c.key, "secret", "env:AWS_SECRET_ACCESS_KEY"}, {&c.session, "session", "env:AWS_SESSION_TOKEN"}} {
		if *f.to, err = u.secret(f.name, f.otherwise); err != nil {
			return nil, err
		}
	}
	s.sign = func(_ context.Context, r *http.Request, body []byte) error {
		return c.sign(r, body, time.Now(), m[2], "kms")
	}
	s.about = func(body []byte) bool {
		var e struct {
			Type string `json:"__type"`
		}
		if json.Unmarshal(body, &e) != nil {
			return false
		}
		kind := e.Type[strings.LastIndex(e.Type, "#")+1:]
		return kind == "InvalidCiphertextException" || kind == "IncorrectKeyException"
	}
	return &awsKey{s, u.rest}, nil
}

// ID is the key's ARN.
func (k *awsKey) ID() string { return "aws:" + k.arn }

// awsData is what both operations take and give; bytes are base64 in JSON.
type awsData struct {
	KeyID      string            `json:"KeyId"`
	Plaintext  []byte            `json:",omitempty"`
	Ciphertext []byte            `json:"CiphertextBlob,omitempty"`
	Context    map[string]string `json:"EncryptionContext,omitempty"`
}

// ask has the associated data as the encryption context, whose values are text.
func (k *awsKey) ask(ctx context.Context, operation string, in awsData, associated []byte) (out awsData, err error) {
	in.KeyID = k.arn
	in.Context = map[string]string{"redoubt": base64.StdEncoding.EncodeToString(associated)}
	err = k.service.post(ctx, "/", map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService." + operation}, in, &out)
	return out, err
}

func (k *awsKey) Wrap(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	out, err := k.ask(ctx, "Encrypt", awsData{Plaintext: plaintext}, associated)
	return out.Ciphertext, err
}

func (k *awsKey) Unwrap(ctx context.Context, wrapped, associated []byte) ([]byte, error) {
	out, err := k.ask(ctx, "Decrypt", awsData{Ciphertext: wrapped}, associated)
	return out.Plaintext, err
}

type awsCredentials struct{ id, key, session secret }

// sign signs a request to the path "/" without a query by AWS Signature Version 4.
// Every header that the request has is signed.
func (c awsCredentials) sign(r *http.Request, body []byte, now time.Time, region, service string) error {
	id, err := c.id.read()
	if err != nil {
		return err
	}
	key, err := c.key.read()
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" || r.URL.Path != "" && r.URL.Path != "/" {
		return fmt.Errorf("sign %s: only the path / is signed", r.URL)
	}
	r.Header.Set("X-Amz-Date", now.UTC().Format("20060102T150405Z"))
	if session, err := c.session.read(); err == nil { // temporary credentials have one
		r.Header.Set("X-Amz-Security-Token", session)
	}
	lines := []string{"host:" + r.URL.Host}
	names := []string{"host"}
	for name := range r.Header {
		name = strings.ToLower(name)
		names = append(names, name)
		lines = append(lines, name+":"+strings.TrimSpace(r.Header.Get(name)))
	}
	slices.Sort(lines)
	slices.Sort(names)
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{r.Method, "/", "", strings.Join(lines, "\n"), "", signed, digest(body)}, "\n")
	date := now.UTC().Format("20060102")
	scope := strings.Join([]string{date, region, service, "aws4_request"}, "/")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, digest([]byte(canonical))}, "\n")
	mac := []byte("AWS4" + key)
	for _, part := range []string{date, region, service, "aws4_request", toSign} {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(part))
		mac = h.Sum(nil)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x", id, scope, signed, mac))
	return nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
