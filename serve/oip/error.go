package oip

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Code is the kind of an error: what decides its status in REST and in gRPC.
type Code uint8

// The kinds of error. The zero value is [Internal], so that an error whose kind
// nobody chose tells the client nothing.
const (
	Internal         Code = iota // something broke
	BadInput                     // the request is not what the protocol or the model asks for
	Unauthenticated              // nobody knows who calls
	Denied                       // the caller may not
	NotFound                     // no such model or version
	BadMethod                    // the path is known, the method is not
	TooLarge                     // the request exceeds a limit on its size
	UnsupportedMedia             // the body is of a type or encoding that is not read
	Unprocessable                // well formed, and refused for its values
	Limited                      // too often
	Unsupported                  // a part of the protocol that is not offered
	Unavailable                  // not now: not ready, or the queue is full
	Deadline                     // the time allowed is over
	Cancelled                    // the client went away
)

// kinds holds, for each code, its name and its statuses.
var kinds = [...]struct {
	name string
	http int
	grpc codes.Code
}{
	Internal:         {"internal", http.StatusInternalServerError, codes.Internal},
	BadInput:         {"bad-input", http.StatusBadRequest, codes.InvalidArgument},
	Unauthenticated:  {"unauthenticated", http.StatusUnauthorized, codes.Unauthenticated},
	Denied:           {"denied", http.StatusForbidden, codes.PermissionDenied},
	NotFound:         {"not-found", http.StatusNotFound, codes.NotFound},
	BadMethod:        {"bad-method", http.StatusMethodNotAllowed, codes.Unimplemented},
	TooLarge:         {"too-large", http.StatusRequestEntityTooLarge, codes.ResourceExhausted}, // as gRPC itself refuses large messages
	UnsupportedMedia: {"unsupported-media", http.StatusUnsupportedMediaType, codes.InvalidArgument},
	Unprocessable:    {"unprocessable", http.StatusUnprocessableEntity, codes.InvalidArgument},
	Limited:          {"limited", http.StatusTooManyRequests, codes.ResourceExhausted}, // clients of KServe retry Unavailable by themselves
	Unsupported:      {"unsupported", http.StatusNotImplemented, codes.Unimplemented},
	Unavailable:      {"unavailable", http.StatusServiceUnavailable, codes.Unavailable},
	Deadline:         {"deadline", http.StatusGatewayTimeout, codes.DeadlineExceeded},
	Cancelled:        {"cancelled", 499, codes.Canceled}, // nobody reads it; nginx's number, for logs
}

func (c Code) kind() int {
	if int(c) >= len(kinds) {
		return int(Internal)
	}
	return int(c)
}

func (c Code) String() string { return kinds[c.kind()].name }

// HTTPStatus is the status of an answer that holds such an error.
func (c Code) HTTPStatus() int { return kinds[c.kind()].http }

// GRPC is the same for gRPC.
func (c Code) GRPC() codes.Code { return kinds[c.kind()].grpc }

// Error is a failed call. The client sees the kind and the message; what lies
// behind is for the log.
type Error struct {
	Code Code
	// Message is one sentence for the client. It holds no address, path, name
	// of another's, or text of a library.
	Message string
	Err     error // the cause; may be nil
}

// Errorf makes an error whose message is for the client.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Error is for the log: it holds the cause too.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// GRPCStatus is what package status of gRPC asks for, so that a method of a
// gRPC service may return an Error as it is: the cause stays behind.
func (e *Error) GRPCStatus() *status.Status {
	return status.New(e.Code.GRPC(), clean(e.Message))
}

// Classify finds the [Error] in err, or makes one: of kind Deadline or
// Cancelled for the errors of contexts, else Internal with a message that tells
// nothing. It returns nil for nil.
func Classify(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Deadline, "the request took too long", err}
	case errors.Is(err, context.Canceled):
		return &Error{Cancelled, "the request was cancelled", err}
	}
	return &Error{Internal, "internal error", err}
}

// problem is the body of an error: the protocol's one string, and beside it the
// members of RFC 9457, which its clients ignore.
type problem struct {
	Error    string `json:"error"`
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Instance string `json:"instance,omitempty"`
}

// WriteError answers with an error. instance is the request's id, so that the
// client can name it to whoever reads the log; "" leaves it out.
//
// The Content-Type is "application/json" to the letter: KServe's client reads
// the message only then.
func WriteError(w http.ResponseWriter, err error, instance string) {
	e := Classify(err)
	if e == nil {
		e = &Error{Code: Internal, Message: "internal error"}
	}
	write(w, e.Code.HTTPStatus(), e.Code.String(), e.Message, instance)
}

// WriteStatus is WriteError for what is refused before it is a request, by a status
// that no [Code] has.
func WriteStatus(w http.ResponseWriter, status int, message, instance string) {
	write(w, status, BadInput.String(), cmp.Or(message, http.StatusText(status)), instance)
}

func write(w http.ResponseWriter, status int, kind, message, instance string) {
	body, err := json.Marshal(problem{
		Error:    clean(message),
		Type:     "urn:redoubt:error:" + kind,
		Title:    strings.ReplaceAll(kind, "-", " "),
		Status:   status,
		Instance: clean(instance),
	})
	if err != nil { // strings and a number always have a JSON form
		body = []byte(`{"error":"internal error"}`)
	}
	h := w.Header()
	h.Del("Content-Encoding")
	h.Del(headerLength)
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// headerLength is the header of the binary tensor extension that tells where
// the JSON ends.
const headerLength = "Inference-Header-Content-Length"

// maxMessage bounds the messages that clients get.
const maxMessage = 512

// clean makes text fit for a client and a log: one line of valid UTF-8 without
// control characters, not too long.
func clean(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage] + "..."
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\uFFFD' {
			return ' '
		}
		return r
	}, s)
}

// excerpt quotes what a client sent, shortened.
func excerpt(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.Quote(s)
}
