package engine

import (
	"errors"
	"strings"
	"unicode"

	"github.com/redoubt-ml/redoubt/serve/oip"
)

// wrongAnswer is the error of an answer that makes no sense.
func wrongAnswer(err error) *oip.Error {
	return &oip.Error{Code: oip.Internal, Message: "the model's server gave an answer that is not understood", Err: err}
}

// refusal makes an error of what a server said. Only of a refused request does
// its text reach the client, and only its harmless words.
func (u *UpstreamConfig) refusal(c oip.Code, said, remote string) *oip.Error {
	e := &oip.Error{Code: c, Err: errors.New(excerpt(said))}
	switch c {
	case oip.BadInput, oip.Unprocessable:
		if remote != u.Name && len(remote) > 2 {
			said = strings.ReplaceAll(said, remote, u.Name)
		}
		e.Message = "the model's server refuses the request: " + sentence(said)
	case oip.TooLarge:
		e.Message = "the request is larger than the model's server takes"
	case oip.Unsupported:
		e.Message = "the model's server does not offer this"
	case oip.Deadline:
		e.Message = "the model's server took too long"
	case oip.Unavailable:
		e.Message = "the model's server is not ready for it now"
	default:
		e.Message = "the model's server failed"
	}
	return e
}

func excerpt(s string) string {
	const most = 1000
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// sentence keeps of a server's text what tells a client about his request:
// printable words, without whatever looks like a path, an address or a pointer.
func sentence(s string) string {
	const most = 240
	var words []string
	n := 0
	for word := range strings.FieldsSeq(strings.ToValidUTF8(s, "")) {
		if strings.ContainsAny(word, `/\@`) || strings.Contains(word, "0x") || strings.Contains(word, ".py") || strings.Count(word, ".") > 2 ||
			strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsPrint(r) }) {
			word = "..."
		}
		if n += len(word) + 1; n > most {
			break
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
