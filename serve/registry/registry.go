// Package registry keeps the models that were pushed to a gateway, and says which
// of their versions may be routed to.
//
//	r, err := registry.Open(ctx, registry.Config{DB: db, Dir: dir, Sealer: sealer, Log: log})
//	r.Require(admission)
//	err = r.PutWeights(ctx, digest, file)
//	v, err := r.Push(ctx, change, "loans", registry.Version{Digest: digest, Signatures: signatures, ...})
//	...
//	weights, until, err := r.Admit(ctx, admission, v)
//
// A [Model] has numbered versions, each at a [Stage]: the one in production answers
// calls that name no version. Aliases are further names. A canary answers a share
// of the calls in the place of the one in production, and a shadow answers them
// too, without being heard. The weights lie in a folder under their SHA-256, sealed
// by package seal; everything else is in the store, so that nodes share it.
//
// # Promises
//
// [Registry.Admit] decides from the weights as they lie there and from what was
// signed, and from nothing that was written down about an earlier decision. It
// returns the bytes that it decided about: who loads these loads what was
// verified. A version that was not admitted is not pushed and not promoted.
//
// Every change is on record before it is made.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/seal"
	"github.com/redoubt-ml/redoubt/store"
)

// Stage is how far a version has come.
type Stage string

// The stages.
const (
	Dev        Stage = "dev"
	Staging    Stage = "staging"
	Production Stage = "production" // one version of a model at most
	Archived   Stage = "archived"   // kept, and not routed to
)

// Stages lists them.
var Stages = []Stage{Dev, Staging, Production, Archived}

// Model is a model and its versions.
type Model struct {
	Name string `json:"name"`
	// Versions are in the order in which they were pushed.
	Versions []Version `json:"versions"`
	// Aliases are further names of versions.
	Aliases map[string]string `json:"aliases,omitempty"`
	Canary  *Canary           `json:"canary,omitempty"`
	// Shadow is a version that answers without being heard.
	Shadow string `json:"shadow,omitempty"`
	// Past are the versions that were in production before, the last one last.
	Past []string `json:"past,omitempty"`
	// Last is the number of the last version that was pushed: none is given twice.
	Last int `json:"last"`
}

// Canary has a version answer a share of the calls.
type Canary struct {
	Version string `json:"version"`
	// Share is above 0 and at most 1. Who is among it stays so.
	Share float64 `json:"share"`
}

// Version is a version of a model.
type Version struct {
	Version string `json:"version"` // a number, "1" the first
	Stage   Stage  `json:"stage"`
	// File is the name of the file, for people. Digest is its SHA-256, and Size its
	// bytes.
	File   string         `json:"file"`
	Digest redoubt.Digest `json:"digest"`
	Size   int64          `json:"size"`
	Pushed time.Time      `json:"pushed"`
	By     string         `json:"by"` // a principal's id
	// Signatures and Attestations are bundles of package sign.
	Signatures   [][]byte `json:"signatures"`
	Attestations [][]byte `json:"attestations,omitempty"`
}

// Live is the version in production, nil if there is none.
func (m *Model) Live() *Version {
	for i := range m.Versions {
		if m.Versions[i].Stage == Production {
			return &m.Versions[i]
		}
	}
	return nil
}

// Routed are the versions that are not archived: the one in production first, and
// then the last pushed first.
func (m *Model) Routed() []*Version {
	var list []*Version
	for i := range slices.Backward(m.Versions) {
		switch v := &m.Versions[i]; v.Stage {
		case Archived:
		case Production:
			list = append([]*Version{v}, list...)
		default:
			list = append(list, v)
		}
	}
	return list
}

// Find is a version by its number or an alias, nil if there is none.
func (m *Model) Find(name string) *Version {
	if to := m.Aliases[name]; to != "" {
		name = to
	}
	for i := range m.Versions {
		if m.Versions[i].Version == name {
			return &m.Versions[i]
		}
	}
	return nil
}

// Recorder keeps what was changed. Record returns when the entry is durable.
type Recorder interface {
	Record(ctx context.Context, e redoubt.Event) error
}

// Config is what a registry is opened with. All but Tenant and Now are required.
type Config struct {
	DB *store.DB
	// Dir is the folder of the weights, which nodes that share a store share, too.
	Dir    string
	Sealer *seal.Sealer
	// Tenant is whose the weights are: what was sealed for another is refused.
	Tenant string
	Log    Recorder
	Now    func() time.Time // time.Now by default
}

// Registry keeps models. It is safe for concurrent use.
type Registry struct {
	cfg      Config
	weights  blobs
	changing sync.Mutex // one change at a time on this node
	required atomic.Pointer[Admission]
}

// Room is the name under which the store counts changes.
const Room = "registry"

var migrations = store.Migrations{Room: Room, Steps: []string{
	`CREATE TABLE registry_models (name TEXT PRIMARY KEY, body TEXT NOT NULL)`,
}}

// Open makes table and folder where there are none. Until [Registry.Require] is
// called nothing is admitted.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	if cfg.DB == nil || cfg.Dir == "" || cfg.Sealer == nil || cfg.Log == nil {
		return nil, errors.New("open the registry: database, folder, sealer and log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.DB.Migrate(ctx, migrations); err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	r := &Registry{cfg: cfg, weights: blobs{cfg.Dir, cfg.Sealer, cfg.Tenant}}
	r.required.Store(&Admission{})
	return r, r.sweep(ctx)
}

// Require sets what pushing and promoting ask of a version.
func (r *Registry) Require(a *Admission) { r.required.Store(a) }

// Models are all models, sorted by name, as they are in the store.
func (r *Registry) Models(ctx context.Context) ([]Model, error) {
	var all []Model
	err := r.cfg.DB.View(ctx, func(tx *store.Tx) error {
		all = nil
		rows, err := tx.Query(`SELECT body FROM registry_models ORDER BY name`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var body string
			if err := rows.Scan(&body); err != nil {
				return err
			}
			var m Model
			if err := json.Unmarshal([]byte(body), &m); err != nil {
				return err
			}
			all = append(all, m)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", err)
	}
	return all, nil
}

// ErrNotFound says that there is no such model or version.
var ErrNotFound = errors.New("there is no such model or version")

// Model is a model by its name.
func (r *Registry) Model(ctx context.Context, name string) (*Model, error) {
	all, err := r.Models(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(m Model) bool { return m.Name == name })
	if i < 0 {
		return nil, ErrNotFound
	}
	return &all[i], nil
}

// Change is who makes a change.
type Change struct {
	By      redoubt.Principal
	From    netip.Addr
	Request string // the id that the client was given
}

// MaxWeights bounds the weights of a version, in bytes: an ONNX file is no larger.
const MaxWeights = 2 << 30

// PutWeights seals weights that r gives under their digest. If they have another,
// nothing is kept.
func (r *Registry) PutWeights(ctx context.Context, digest redoubt.Digest, weights io.Reader) error {
	return r.weights.put(ctx, digest, weights)
}
