// Package witness has logs watched by others: a witness signs a checkpoint when it
// has seen that it grew out of the one before (C2SP tlog-witness), so that a log
// cannot be written anew, cut or shown to two readers in two versions without a
// witness noticing.
//
//	w := &witness.Remote{URL: "https://other.example/witness", Key: key}
//	signature, err := w.Cosign(ctx, dir, log.Checkpoint())
//
//	http.Handle("/witness/", http.StripPrefix("/witness", &witness.Server{Dir: dir, Signer: signer, Logs: keys}))
//
// Any server of that protocol will do, and two gateways can witness each other.
// Signatures are Ed25519; those of ML-DSA-44 are not made, and not understood.
package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/redoubt-ml/redoubt/internal/atomicfile"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

// Limits on what is read of another.
const (
	maxRequest = 128 << 10
	maxAnswer  = 64 << 10
)

// Remote is a witness that a log asks.
type Remote struct {
	// URL is its submission prefix. Required, like Key.
	URL string
	// Key is of cosignatures: see [audit.ReadVerifier].
	Key note.Verifier
	// Client asks; http.DefaultClient if nil.
	Client *http.Client

	mu    sync.Mutex
	known int64 // size that it signed last
}

// Cosign asks for the witness's signature on a checkpoint of the log of a folder,
// and returns the checkpoint with it. It is called again with the next.
func (w *Remote) Cosign(ctx context.Context, dir string, c audit.Checkpoint) (audit.Checkpoint, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range 2 {
		answer, conflict, err := w.ask(ctx, dir, c)
		if err != nil {
			return c, fmt.Errorf("ask witness %s: %w", w.Key.Name(), err)
		}
		if !conflict {
			return w.take(c, answer)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(answer)), 10, 64)
		if err != nil || size < 0 || size > c.Size {
			return c, fmt.Errorf("ask witness %s: it has seen %.40q entries of a log of %d: the log was cut or written anew", w.Key.Name(), answer, c.Size)
		}
		w.known = size
	}
	return c, fmt.Errorf("ask witness %s: it signs for another process of this log at the same time", w.Key.Name())
}

// ask sends a checkpoint with the proof that it grew out of what the witness is
// known to have signed. On a conflict the answer is the size that it did sign.
func (w *Remote) ask(ctx context.Context, dir string, c audit.Checkpoint) (answer []byte, conflict bool, err error) {
	g, err := audit.ProveGrowth(dir, min(w.known, c.Size), c)
	if err != nil {
		return nil, false, err
	}
	body, err := g.MarshalText()
	if err != nil {
		return nil, false, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(w.URL, "/")+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	client := w.Client
	if client == nil {
		client = http.DefaultClient
	}
	a, err := client.Do(r)
	if err != nil {
		return nil, false, err
	}
	defer a.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, false, err
	case a.StatusCode == http.StatusConflict:
		return answer, true, nil
	case a.StatusCode != http.StatusOK:
		return nil, false, fmt.Errorf("it answers %s: %.200q", a.Status, answer)
	}
	return answer, false, nil
}

// take adds the signatures that a witness answered to a checkpoint.
func (w *Remote) take(c audit.Checkpoint, signatures []byte) (audit.Checkpoint, error) {
	signed, err := audit.ParseCheckpoint(append(bytes.Clone(c.Note), signatures...))
	if err == nil {
		_, err = note.Open(signed.Note, note.VerifierList(w.Key))
	}
	if err != nil {
		return c, fmt.Errorf("ask witness %s: its answer is not its signature: %w", w.Key.Name(), err)
	}
	w.known = c.Size
	return signed, nil
}

// Server is a witness.
type Server struct {
	// Dir keeps the newest checkpoint of each log. Required, like Signer.
	Dir string
	// Signer signs cosignatures: see [audit.Cosigner].
	Signer note.Signer
	// Logs are the keys of those that it watches, whose names are their origins.
	Logs []note.Verifier

	mu sync.Mutex
}

// refusal is an answer that is no signature.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return r.text }

// ServeHTTP answers POST /add-checkpoint.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/add-checkpoint" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "this method is not allowed here", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var signature []byte
	if err == nil {
		signature, err = s.add(body)
	} else {
		err = refusal{http.StatusBadRequest, "the request is too long"}
	}
	var no refusal
	switch {
	case errors.As(err, &no) && no.status == http.StatusConflict:
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(no.status)
		fmt.Fprintln(w, no.text)
	case errors.As(err, &no):
		http.Error(w, no.text, no.status)
	case err != nil:
		http.Error(w, "the witness cannot keep what it sees", http.StatusInternalServerError)
	default:
		w.Write(signature) // the client may be gone
	}
}

// add is the signature on a checkpoint that grew out of the one before.
func (s *Server) add(body []byte) ([]byte, error) {
	var g audit.Growth
	if err := g.UnmarshalText(body); err != nil {
		return nil, refusal{http.StatusBadRequest, err.Error()}
	}
	if err := s.authentic(g.To); err != nil {
		return nil, err
	}
	if g.From > g.To.Size {
		return nil, refusal{http.StatusBadRequest, "the old size is larger than the checkpoint's"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := s.newest(g.To.Origin)
	if err != nil {
		return nil, err
	}
	if g.From != before.Size {
		return nil, refusal{http.StatusConflict, strconv.FormatInt(before.Size, 10)}
	}
	if empty := sha256.Sum256(nil); g.To.Size == 0 && g.To.Root != empty {
		return nil, refusal{http.StatusUnprocessableEntity, "the root is not that of an empty log"}
	}
	if err := g.Check(before); err != nil {
		return nil, refusal{http.StatusUnprocessableEntity, err.Error()}
	}
	n, err := note.Open(g.To.Note, note.VerifierList(s.Logs...))
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: n.Text}, s.Signer)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Replace(s.path(g.To.Origin), signed); err != nil {
		return nil, err
	}
	return signed[len(n.Text)+1:], nil
}

// authentic reports why a checkpoint is not one of a log that is watched.
func (s *Server) authentic(c audit.Checkpoint) error {
	known := false
	for _, key := range s.Logs {
		if key.Name() != c.Origin {
			continue
		}
		if known = true; c.Check(key, nil, 0) == nil {
			return nil
		}
	}
	if !known {
		return refusal{http.StatusNotFound, "this log is not watched here"}
	}
	return refusal{http.StatusForbidden, "the checkpoint is not signed with the log's key"}
}

func (s *Server) path(origin string) string {
	name := sha256.Sum256([]byte(origin))
	return filepath.Join(s.Dir, hex.EncodeToString(name[:16])+".checkpoint")
}

// newest is the checkpoint of a log that was signed last.
func (s *Server) newest(origin string) (audit.Checkpoint, error) {
	b, err := os.ReadFile(s.path(origin))
	if errors.Is(err, fs.ErrNotExist) {
		return audit.Checkpoint{Origin: origin}, nil
	}
	if err != nil {
		return audit.Checkpoint{}, err
	}
	c, err := audit.ParseCheckpoint(b)
	if err == nil && c.Origin != origin {
		err = errors.New("what is kept of a log is of another")
	}
	return c, err
}
