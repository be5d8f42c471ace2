package remote

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Secret reads a secret from where source says it is kept: "env:NAME" or
// "file:PATH", whose surrounding white space does not count. Anything else is
// refused without being repeated, because it may be the secret itself.
func Secret(source string) (string, error) {
	kind, at, _ := strings.Cut(source, ":")
	var secret string
	switch kind {
	case "env":
		secret = os.Getenv(at)
	case "file":
		f, err := os.Open(at)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, 64<<10))
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		secret = string(b)
	default:
		return "", fmt.Errorf("the token is to come from env:NAME or file:PATH: on the command line others could read it")
	}
	if secret = strings.TrimSpace(secret); secret == "" {
		return "", fmt.Errorf("read the token: %s is empty", source)
	}
	return secret, nil
}
