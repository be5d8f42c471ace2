package audit

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/atomicfile"
)

// subjectsFile holds the key of each person, a line each. It is no part of the
// log: without it the log is whole, and tells less.
const subjectsFile = "subjects"

// Subjects are the persons whom the entries of a log tell of, each with a key.
// What an entry tells of a person stands in it sealed with that key (AES-256-GCM),
// and the log's hashes are over the sealed form. So it can be erased, by
// destroying the key, and every proof stays valid.
type Subjects struct {
	path string

	mu     sync.Mutex
	size   int64 // of the file as it was read
	byName map[string]*subject
	byID   map[string]*subject
}

type subject struct {
	Name string `json:"name"` // a [redoubt.Principal.ID]
	ID   string `json:"id"`   // that entries know it by; random
	Key  string `json:"key"`  // in hexadecimal
	aead cipher.AEAD
}

// box is a part of an event that is sealed.
type box struct {
	Of      string `json:"of"` // ofActor or ofResource
	Subject string `json:"subject"`
	Text    []byte `json:"text"`
}

const (
	ofActor    = "actor"
	ofResource = "resource"
	// ofSubject begins the resource of an erasure, before the id.
	ofSubject = "subject:"
)

// openSubjects reads the keys of a log; there need not be any.
func openSubjects(dir string) (*Subjects, error) {
	s := &Subjects{path: filepath.Join(dir, subjectsFile)}
	return s, s.load()
}

func (s *Subjects) load() error {
	s.byName, s.byID = map[string]*subject{}, map[string]*subject{}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.size = int64(len(b))
	for text := range bytes.Lines(b) {
		if !bytes.HasSuffix(text, []byte("\n")) {
			break // nothing was sealed with a key that was not written whole
		}
		k := &subject{}
		if err := json.Unmarshal(text, k); err != nil {
			return fmt.Errorf("read the keys of subjects %s: a line is none", s.path)
		}
		if err := k.open(); err != nil {
			return fmt.Errorf("read the keys of subjects %s: %w", s.path, err)
		}
		s.byName[k.Name], s.byID[k.ID] = k, k
	}
	return nil
}

func (k *subject) open() error {
	key, err := hex.DecodeString(k.Key)
	if err != nil || len(key) != 32 || k.ID == "" {
		return errors.New("a key is none")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return err
}

// person reports whether what has that name is one: accounts of people, ours and
// those of single sign-on, are called so; services, certificates and models are not.
func person(name string) bool {
	return strings.HasPrefix(name, "user:") || strings.HasPrefix(name, "oidc:")
}

// of is a person's key, made and durable when there was none.
func (s *Subjects) of(name string) (*subject, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.byName[name]; k != nil {
		return k, nil
	}
	var b [40]byte
	rand.Read(b[:])
	k := &subject{Name: name, ID: hex.EncodeToString(b[32:]), Key: hex.EncodeToString(b[:32])}
	if err := errors.Join(k.open(), s.add(k)); err != nil {
		return nil, fmt.Errorf("keep the key of a subject: %w", err)
	}
	s.byName[k.Name], s.byID[k.ID] = k, k
	return k, nil
}

// add appends a key to the file, over what a crash may have left of another.
func (s *Subjects) add(k *subject) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(text, '\n'), s.size)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	s.size += int64(len(text)) + 1
	return atomicfile.SyncFolder(filepath.Dir(s.path))
}

// erase destroys a person's key. The file is written anew without it.
func (s *Subjects) erase(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.byName[name]
	if k == nil {
		return fmt.Errorf("erase %s: the log has no key of that subject", name)
	}
	var b bytes.Buffer
	for _, n := range slices.Sorted(maps.Keys(s.byName)) {
		if n == name {
			continue
		}
		text, err := json.Marshal(s.byName[n])
		if err != nil {
			return err
		}
		b.Write(append(text, '\n'))
	}
	if err := atomicfile.Replace(s.path, b.Bytes()); err != nil {
		return fmt.Errorf("erase %s: %w", name, err)
	}
	s.size = int64(b.Len())
	delete(s.byName, name)
	delete(s.byID, k.ID)
	return nil
}

// id is the name that entries know a person by, "" if they know none.
func (s *Subjects) id(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.byName[name]; k != nil {
		return k.ID
	}
	return ""
}

// personal is what of an event tells of a person who acted, or to whom it was
// done.
type personal struct {
	Actor      string            `json:"actor,omitempty"`
	Method     string            `json:"method,omitempty"`
	Credential string            `json:"credential,omitempty"`
	From       string            `json:"from,omitempty"`
	Resource   string            `json:"resource,omitempty"`
	Before     string            `json:"before,omitempty"`
	After      string            `json:"after,omitempty"`
	Details    map[string]string `json:"details,omitempty"`
}

// seal takes what tells of persons out of an event, and returns it sealed.
func (s *Subjects) seal(e *redoubt.Event) (boxes []box, err error) {
	actor, resource := e.Actor, e.Resource
	if person(actor) {
		p := personal{Actor: e.Actor, Method: e.Method, Credential: e.Credential, From: e.From}
		e.Actor, e.Method, e.Credential, e.From = "", "", "", ""
		if boxes, err = s.put(boxes, ofActor, actor, p); err != nil {
			return nil, err
		}
	}
	if person(resource) {
		p := personal{Resource: e.Resource, Before: e.Before, After: e.After, Details: e.Details}
		e.Resource, e.Before, e.After, e.Details = "", "", "", nil
		if boxes, err = s.put(boxes, ofResource, resource, p); err != nil {
			return nil, err
		}
	}
	return boxes, nil
}

func (s *Subjects) put(boxes []box, of, name string, p personal) ([]box, error) {
	k, err := s.of(name)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return append(boxes, box{of, k.ID, k.aead.Seal(nil, nil, text, place(of, k.ID))}), nil
}

// place binds what is sealed to where it stands.
func place(of, id string) []byte { return []byte("redoubt.audit/v1 " + of + " " + id) }

// read is the event of an entry, with what is sealed of it put back.
func (s *Subjects) read(l line) (redoubt.Event, error) {
	e, boxes, err := l.decode()
	if err == nil {
		err = s.reveal(&e, boxes)
	}
	return e, err
}

// reveal puts back what is sealed of an event. Of a person whose key is gone it
// shows the name that entries know him by.
func (s *Subjects) reveal(e *redoubt.Event, boxes []box) error {
	for _, b := range boxes {
		k, err := s.find(b.Subject)
		if err != nil {
			return err
		}
		if k == nil {
			hide(e, b, "erased:")
			continue
		}
		text, err := k.aead.Open(nil, nil, b.Text, place(b.Of, b.Subject))
		var p personal
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			return fmt.Errorf("what it tells of subject %s is not sealed with that key", b.Subject)
		}
		if b.Of == ofActor {
			e.Actor, e.Method, e.Credential, e.From = p.Actor, p.Method, p.Credential, p.From
		} else {
			e.Resource, e.Before, e.After, e.Details = p.Resource, p.Before, p.After, p.Details
		}
	}
	return nil
}

// hide shows where something is sealed.
func hide(e *redoubt.Event, b box, how string) {
	if b.Of == ofActor {
		e.Actor = how + b.Subject
	} else {
		e.Resource = how + b.Subject
	}
}

// find is the key of that id, nil if it is gone. A key that came after the file
// was read is found.
func (s *Subjects) find(id string) (*subject, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.byID[id]; k != nil {
		return k, nil
	}
	if info, err := os.Stat(s.path); err == nil && info.Size() != s.size {
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	return s.byID[id], nil
}
