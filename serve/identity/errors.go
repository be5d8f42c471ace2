package identity

import (
	"errors"
	"fmt"
	"time"
)

// Kind is why somebody was not let in. Its text is a sentence for the client,
// which tells an attacker nothing that he does not know.
type Kind string

// The kinds of error.
const (
	Missing      Kind = "credentials are required"
	Invalid      Kind = "the credentials are not valid"
	Expired      Kind = "the credentials have expired"
	Locked       Kind = "too many attempts: wait before the next"
	SecondFactor Kind = "a second factor is required: sign in with it, or confirm with it again"
	Unavailable  Kind = "identity cannot be established at the moment"
)

// Error is a refusal. Error() says why, for the log; clients are told Kind.
type Error struct {
	Kind Kind
	// Wait is how long to wait before the next attempt, where Kind is Locked.
	Wait time.Duration
	// Cause is what lies behind it. It holds no secret, but is not for clients.
	Cause error
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return string(e.Kind)
	}
	return fmt.Sprintf("%s (%v)", e.Kind, e.Cause)
}

func (e *Error) Unwrap() error { return e.Cause }

// ErrInput is wrapped by errors about what somebody typed or configured, whose
// text is meant for him.
var ErrInput = errors.New("not accepted")

func input(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInput, fmt.Sprintf(format, args...))
}

func refuse(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Cause: fmt.Errorf(format, args...)}
}

// unavailable is a refusal because something broke, unless err is already a
// refusal or speaks to the user.
func unavailable(err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) || errors.Is(err, ErrInput) {
		return err
	}
	return &Error{Kind: Unavailable, Cause: err}
}
