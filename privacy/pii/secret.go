package pii

import (
	"bytes"
	"encoding/base64"
	"hash/crc32"
	"math"
	"slices"
	"strings"
)

// privateKey is private keys in PEM: RFC 7468.
var privateKey = Recognizer{
	Name: "private-key", Type: "PRIVATE_KEY", Doc: "private keys in PEM (RFC 7468), PuTTY's and PGP's too; up to 16 KB, whether they end or not",
	on: onWords, words: []string{"begin"},
	find: func(v *view, at int) {
		start := int(v.words[at].start) - 5
		if start < v.keyed || !bytes.HasPrefix(v.text[start:], []byte("-----BEGIN ")) {
			return
		}
		rest := v.text[start:min(len(v.text), start+maxPEM)]
		line, _, _ := bytes.Cut(rest[11:min(len(rest), 80)], []byte("-----"))
		v.steps += len(line)
		if !bytes.Contains(line, []byte("PRIVATE KEY")) || len(line) > 40 {
			return
		}
		// A key that is cut off is a key all the same, and so is what its lines show.
		end, mark := 11+len(line)+5, append(append([]byte("-----END "), line...), "-----"...)
		if i := bytes.Index(rest[min(end, len(rest)):], mark); i >= 0 {
			v.steps += i
			v.keyed = start + end + i + len(mark)
			v.found(start, v.keyed, 1, "is a private key from BEGIN to END")
			return
		}
		for end < len(rest) && (isAlnum(rest[end]) || strings.IndexByte("+/=\r\n\\:,- ", rest[end]) >= 0) {
			end++
		}
		v.steps += end
		v.keyed = start + min(end, len(rest))
		v.found(start, v.keyed, 0.95, "begins as a private key")
	},
}

const maxPEM = 16 << 10

// A keyForm is how one vendor's keys begin and go on.
type keyForm struct {
	prefix string
	min    int // signs behind the prefix, at least
	max    int
	marks  string // what may be among them besides letters and digits
	name   string
	check  func(key []byte) keyDoubt
}

// keyDoubt is what a key's own form says of it.
type keyDoubt int

const (
	itIs    keyDoubt = iota
	itMay            // its checksum is wrong: it was made up, or mistyped
	itIsNot          // not of this vendor
)

// keyForms are those of vendors who publish them, or whose keys are found by the
// scanners of their own repositories. Prefixes are compared exactly.
var keyForms = []keyForm{
	{"AKIA", 16, 16, "", "AWS", capitalKey}, {"ASIA", 16, 16, "", "AWS", capitalKey}, {"ABIA", 16, 16, "", "AWS", capitalKey}, {"ACCA", 16, 16, "", "AWS", capitalKey},
	{"AIza", 35, 35, "-_", "Google", nil}, {"GOCSPX-", 28, 28, "-_", "Google OAuth", nil}, {"ya29.", 20, 400, "-_.", "Google OAuth", nil},
	{"ghp_", 36, 36, "", "GitHub", crcSum}, {"gho_", 36, 36, "", "GitHub", crcSum}, {"ghu_", 36, 36, "", "GitHub", crcSum}, {"ghs_", 36, 36, "", "GitHub", crcSum}, {"ghr_", 36, 76, "", "GitHub", nil},
	{"github_pat_", 82, 82, "_", "GitHub", nil},
	{"glpat-", 20, 64, "-_.", "GitLab", nil}, {"gldt-", 20, 64, "-_.", "GitLab", nil}, {"glrt-", 20, 64, "-_.", "GitLab", nil},
	{"xoxb-", 20, 150, "-", "Slack", nil}, {"xoxp-", 20, 150, "-", "Slack", nil}, {"xoxa-", 20, 150, "-", "Slack", nil}, {"xoxr-", 20, 150, "-", "Slack", nil}, {"xoxs-", 20, 150, "-", "Slack", nil}, {"xapp-", 20, 150, "-", "Slack", nil},
	{"sk_live_", 16, 120, "", "Stripe", nil}, {"sk_test_", 16, 120, "", "Stripe", nil}, {"rk_live_", 16, 120, "", "Stripe", nil}, {"rk_test_", 16, 120, "", "Stripe", nil}, {"whsec_", 32, 64, "+/=", "Stripe", nil},
	{"sk-ant-", 32, 160, "-_", "Anthropic", nil}, {"sk-proj-", 32, 220, "-_", "OpenAI", nil}, {"sk-svcacct-", 32, 220, "-_", "OpenAI", nil}, {"sk-or-v1-", 64, 64, "", "OpenRouter", nil}, {"sk-", 40, 64, "", "OpenAI", nil},
	{"hf_", 34, 40, "", "Hugging Face", nil}, {"gsk_", 52, 52, "", "Groq", nil}, {"r8_", 37, 40, "", "Replicate", nil},
	{"npm_", 36, 36, "", "npm", crcSum}, {"pypi-AgEIcHlwaS5vcmc", 50, 250, "-_", "PyPI", nil},
	{"SG.", 66, 66, "-_.", "SendGrid", nil}, {"key-", 32, 32, "", "Mailgun", hexKey},
	{"shpat_", 32, 32, "", "Shopify", hexKey}, {"shpss_", 32, 32, "", "Shopify", hexKey}, {"dop_v1_", 64, 64, "", "DigitalOcean", hexKey}, {"doo_v1_", 64, 64, "", "DigitalOcean", hexKey},
	{"dckr_pat_", 27, 40, "-_", "Docker", nil}, {"hvs.", 24, 150, "-_", "Vault", nil}, {"PMAK-", 59, 59, "-", "Postman", nil}, {"lin_api_", 40, 40, "", "Linear", nil},
	{"NRAK-", 27, 27, "", "New Relic", nil}, {"glc_", 40, 400, "+/=", "Grafana", nil}, {"glsa_", 41, 41, "_", "Grafana", nil}, {"ATATT3", 180, 220, "-_=", "Atlassian", nil},
	{"AccountKey=", 88, 88, "+/=", "Azure", nil}, {"SharedAccessKey=", 44, 44, "+/=", "Azure", nil},
	{"sq0atp-", 22, 22, "-_", "Square", nil}, {"sq0csp-", 43, 43, "-_", "Square", nil}, {"EAACEdEose0cBA", 20, 200, "", "Facebook", nil}, {"AGE-SECRET-KEY-1", 58, 58, "", "age", nil},
}

// vendorKey is keys that tell by their prefix whose they are.
var vendorKey = Recognizer{
	Name: "vendor-key", Type: "API_KEY", Doc: "keys of cloud and software vendors, by their prefixes and lengths, and their checksums where they have one",
	on: onLong | onWords, words: prefixWords(),
	find: func(v *view, at int) {
		start := int(v.words[at].start)
		if start > 0 && (isAlnum(v.text[start-1]) || strings.IndexByte("_-./+", v.text[start-1]) >= 0) {
			return
		}
		for _, f := range keyForms {
			if f.prefix[0] != v.text[start] || !bytes.HasPrefix(v.text[start:], []byte(f.prefix)) {
				continue
			}
			end := start + len(f.prefix)
			for end < len(v.text) && end-start-len(f.prefix) <= f.max && (isAlnum(v.text[end]) || strings.IndexByte(f.marks, v.text[end]) >= 0) {
				end++
			}
			for end > start && strings.IndexByte("-_.", v.text[end-1]) >= 0 {
				end--
			}
			v.steps += end - start
			key := v.text[start+len(f.prefix) : max(end, start+len(f.prefix))]
			if len(key) < f.min || len(key) > f.max || entropy(key) < 2.5 {
				continue
			}
			doubt := itIs
			if f.check != nil {
				doubt = f.check(v.text[start:end])
			}
			switch doubt {
			case itIs:
				v.found(start, end, 0.95, "begins as keys of "+f.name+" do and has their length")
				return
			case itMay:
				v.found(start, end, 0.75, "begins as keys of "+f.name+" do and has their length, but not their checksum")
				return
			}
		}
	},
}

// prefixWords are the words that keys begin with where a mark follows them.
func prefixWords() []string {
	var out []string
	for _, f := range keyForms {
		if w := strings.ToLower(tokens(f.prefix)[0]); len(w) < 16 && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

func capitalKey(key []byte) keyDoubt {
	for _, b := range key {
		if !(b >= 'A' && b <= 'Z' || b >= '2' && b <= '7') { // Base32
			return itIsNot
		}
	}
	return itIs
}

func hexKey(key []byte) keyDoubt {
	for _, b := range key[len(key)-32:] {
		if !isHex(b) {
			return itIsNot
		}
	}
	return itIs
}

// crcSum checks the last six signs: the CRC-32 of the thirty before them, in Base62.
func crcSum(key []byte) keyDoubt {
	body := key[len(key)-36:]
	sum := crc32.ChecksumIEEE(body[:30])
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for i := 35; i >= 30; i-- {
		if body[i] != base62[sum%62] {
			return itMay
		}
		sum /= 62
	}
	return itIs
}

// webToken is JSON Web Tokens: RFC 7519.
var webToken = Recognizer{
	Name: "jwt", Type: "ACCESS_TOKEN", Doc: "JSON Web Tokens (RFC 7519): three or five parts in Base64, the first one JSON that names an algorithm; up to 4 KB",
	on: onLong,
	find: func(v *view, at int) {
		start := int(v.words[at].start)
		if !bytes.HasPrefix(v.text[start:], []byte("eyJ")) || start > 0 && strings.IndexByte("-_.", v.text[start-1]) >= 0 {
			return
		}
		end, dots := start, 0
		for end < len(v.text) && end-start < 4<<10 {
			b := v.text[end]
			if b == '.' {
				dots++
			} else if !isAlnum(b) && b != '-' && b != '_' {
				break
			}
			end++
		}
		for end > start && v.text[end-1] == '.' {
			end--
			dots--
		}
		v.steps += end - start
		if dots != 1 && dots != 2 && dots != 4 {
			return
		}
		header, _, _ := bytes.Cut(v.text[start:end], []byte("."))
		json, err := base64.RawURLEncoding.DecodeString(string(header))
		if err != nil || !bytes.Contains(json, []byte(`"alg"`)) {
			return
		}
		v.found(start, end, 0.98, "has a header that names an algorithm")
	},
}

// password is passwords that stand where programs and people write them.
var password = Recognizer{
	Name: "password", Type: "PASSWORD", Doc: "what follows password and the like with a colon or an equals sign, and passwords in addresses",
	on: onWords, words: append([]string{"password", "passwd", "pwd", "passphrase", "passcode", "pass", "passwort", "kennwort", "contraseña", "senha", "parola", "hasło",
		"wachtwoord", "lösenord", "пароль", "密码", "パスワード", "비밀번호"}, schemes...),
	find: func(v *view, at int) {
		w := v.words[at]
		if bytes.HasPrefix(v.text[w.end:], []byte("://")) {
			v.userinfo(int(w.end) + 3)
			return
		}
		if slices.Contains(schemes, v.lower(at)) {
			return
		}
		start, end, quoted, sign := v.assigned(int(w.end))
		value := v.text[start:end]
		if len(value) < 4 || len(value) > 128 || placeholder(value) || !quoted && program(value) {
			return
		}
		mixed := kinds(value)
		switch {
		case quoted && mixed >= 1, sign == '=' && mixed >= 2:
			v.found(start, end, 0.75, "is set as a password")
		case mixed >= 2 && len(value) >= 6:
			v.found(start, end, 0.65, "follows the word password and mixes signs")
		case mixed >= 1 && sign == '=':
			v.found(start, end, 0.55, "is set as a password")
		}
	},
}

// schemes are those of addresses that carry passwords.
var schemes = []string{"https", "http", "ftp", "ssh", "postgres", "postgresql", "mysql", "mongodb", "redis", "amqp", "amqps", "rediss", "srv", "smtp", "smtps", "imap", "sftp"}

// userinfo finds the password of scheme://name:password@host.
func (v *view) userinfo(start int) {
	colon := -1
	for i := start; i < len(v.text) && i-start < 256; i++ {
		switch b := v.text[i]; {
		case b == ':' && colon < 0:
			colon = i
		case b == '@':
			v.steps += i - start
			if colon > 0 && i-colon > 1 && !placeholder(v.text[colon+1:i]) {
				v.found(colon+1, i, 0.96, "is the password in an address")
			}
			return
		case b <= ' ' || strings.IndexByte("/?#<>\"", b) >= 0:
			v.steps += i - start
			return
		}
	}
}

// secretValue is secrets without a form of their own.
var secretValue = Recognizer{
	Name: "secret", Type: "API_KEY", Doc: "values of high entropy that are set as a key, secret or token",
	knows: keyNames,
	on:    onWords, words: []string{"secret", "token", "apikey", "key", "secretkey", "accesskey", "authtoken", "accesstoken", "clientsecret", "credential", "credentials", "authorization", "bearer", "auth", "privatekey", "signature"},
	find: func(v *view, at int) {
		w := v.words[at]
		name := v.lower(at)
		if name == "key" && !slices.Contains(keyNames, v.lower(at-1)) {
			return
		}
		start, end, quoted, sign := v.assigned(int(w.end))
		if name == "bearer" && sign == 0 {
			start = int(w.end) + 1
			end = v.valueEnd(start, 0)
		} else if sign == 0 {
			return
		}
		start, end = min(start, len(v.text)), min(end, len(v.text))
		value := v.text[start:max(start, end)]
		if len(value) < 16 || len(value) > 512 || placeholder(value) || !quoted && indexAny(value, "()[]{}") >= 0 || kinds(value) < 2 || indexAny(value, "0123456789") < 0 {
			return
		}
		if bits := entropy(value); bits >= 3 {
			v.found(start, end, 0.7, "is set as a secret and has the entropy of one")
		}
	},
}

// keyNames are what stands before key where that is a secret.
var keyNames = []string{"api", "secret", "access", "private", "account", "encryption", "signing", "auth", "shared", "master", "subscription", "license"}

// assigned reads what a name at the left is set to: behind quotes, a colon, an equals
// sign or an arrow. The sign is 0 when there is none.
func (v *view) assigned(i int) (start, end int, quoted bool, sign byte) {
	text := v.text
	limit := min(len(text), i+16)
	for i < limit {
		switch b := text[i]; {
		case b == ' ' || b == '"' || b == '\'' || b == '\\' || b == '>' && sign != 0:
			if quoted = quoted || sign != 0 && (b == '"' || b == '\''); quoted {
				i++
				return i, v.valueEnd(i, b), true, sign
			}
		case (b == ':' || b == '=') && (sign == 0 || sign == ':'):
			sign = b
		case sign != 0:
			return i, v.valueEnd(i, 0), false, sign
		default:
			return 0, 0, false, 0
		}
		i++
	}
	return 0, 0, false, 0
}

// valueEnd is where a value ends: at its closing quote, or else at a space or what
// parts values.
func (v *view) valueEnd(i int, quote byte) int {
	start := i
	for i < len(v.text) && i-start <= 512 {
		b := v.text[i]
		if b == '\n' || b == '\r' || quote != 0 && b == quote || quote == 0 && (b <= ' ' || strings.IndexByte(",;&\"'<>)", b) >= 0) {
			break
		}
		i++
	}
	v.steps += i - start
	if quote == 0 {
		for i > start && strings.IndexByte(".!?", v.text[i-1]) >= 0 {
			i--
		}
	}
	return i
}

// kinds counts what a value mixes: letters, digits, other signs.
func kinds(value []byte) int {
	var letters, numbers, others int
	for _, b := range value {
		switch {
		case isDigit(b):
			numbers = 1
		case isLetter(b) || b >= 0x80:
			letters = 1
		default:
			others = 1
		}
	}
	return letters + numbers + others
}

// program reports whether a value is an expression of a programming language.
func program(value []byte) bool {
	dots := 0
	for _, b := range value {
		switch {
		case strings.IndexByte("()[]{}", b) >= 0:
			return true
		case b == '.':
			dots++
		case !isLetter(b) && b != '_':
			return false
		}
	}
	return dots > 0
}

// placeholder reports whether a value stands for one that is elsewhere.
func placeholder(value []byte) bool {
	if same(value) || strings.IndexByte("<${%*[(", value[0]) >= 0 || bytes.HasPrefix(value, []byte("//")) {
		return true
	}
	s := strings.ToLower(string(value))
	return strings.Contains(s, "()") || strings.HasPrefix(s, "os.") || strings.HasPrefix(s, "process.env") || strings.HasPrefix(s, "your") ||
		slices.Contains([]string{"none", "null", "nil", "true", "false", "undefined", "password", "passwd", "changeme", "required", "optional", "string", "redacted", "example", "secret", "token"}, s)
}

// entropy is Shannon's, in bits a byte, of the first 256 bytes.
func entropy(text []byte) float64 {
	text = text[:min(len(text), 256)]
	var count [256]int
	for _, b := range text {
		count[b]++
	}
	bits := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(text))
			bits -= p * math.Log2(p)
		}
	}
	return bits
}
