// Package ort runs models in ONNX Runtime, the shared library, which it loads
// at run time: a program that imports ort builds and starts without it.
//
//	rt, err := ort.Open("")              // finds and loads the library
//	s, err := rt.NewSession(model, ort.Options{Threads: 2})
//	out, err := s.RunTensors(ctx, map[string]*onnx.Tensor{"x": x})
//
// [Session.RunTensors] takes and returns tensors of any element type. Loops
// that run the same session thousands of times allocate [Array] values once,
// whose memory the library reads and writes in place, and call [Session.Run].
//
// A session may be used by several goroutines at once, an Array by one at a
// time. Results depend on the number of threads (the order of sums changes);
// with one thread they are the same from run to run. Never pass one Array as
// input and output of the same run: the library may overwrite it before it has
// read it.
package ort

/*
#cgo linux LDFLAGS: -ldl
#include "api.h"
*/
import "C"

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Runtime is a loaded library. It lives as long as the process.
type Runtime struct {
	api     unsafe.Pointer
	env     unsafe.Pointer
	path    string
	version string
}

// Load loads ONNX Runtime from a file, or by a name the system's loader knows. It has
// the C library give memory of a megabyte and more back to the system when it is
// freed, unless MALLOC_MMAP_THRESHOLD_ says otherwise.
// The error of a missing library is a [NotFoundError], whose text tells how to
// get it.
func Load(path string) (*Runtime, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var lib C.redoubt_lib
	var tooOld C.int
	msg := C.redoubt_load(cpath, &lib, &tooOld)
	if tooOld != 0 {
		C.free(unsafe.Pointer(msg))
		return nil, fmt.Errorf("load ONNX Runtime from %s: version %s is too old, want 1.16 or later: run 'redoubt runtime fetch'",
			path, C.GoString(lib.version))
	}
	if err := check(msg); err != nil {
		return nil, fmt.Errorf("load ONNX Runtime from %s: %w", path, err)
	}
	rt := &Runtime{api: unsafe.Pointer(lib.api), path: path, version: C.GoString(lib.version)}
	if err := check(C.redoubt_env(rt.api, &rt.env)); err != nil {
		return nil, fmt.Errorf("start ONNX Runtime: %w", err)
	}
	return rt, nil
}

// Path is where the library was loaded from.
func (rt *Runtime) Path() string { return rt.path }

// Version is the library's own version, such as "1.30.0".
func (rt *Runtime) Version() string { return rt.version }

// libraryError is a message of ONNX Runtime.
type libraryError string

func (e libraryError) Error() string { return string(e) }

// check takes ownership of a message from C.
func check(msg *C.char) error {
	if msg == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(msg))
	return errorOf(msg)
}

// errorOf is one line, where the library writes paragraphs.
func errorOf(msg *C.char) error {
	return libraryError(strings.Join(strings.Fields(C.GoString(msg)), " "))
}

// Options are a session's settings; the zero value is one thread, full
// optimisation, no spinning.
type Options struct {
	// Threads is the number of threads a run may use; 0 means 1.
	Threads int
	// Spin lets idle threads wait busily between operators. It is faster for
	// one job on a quiet machine and up to ten times slower on a busy one.
	Spin bool
	// Plain switches graph optimisation off, so that every node runs as
	// written.
	Plain bool
	// NoArena returns memory to the system after each run.
	NoArena bool
}

// Session is a model ready to run.
type Session struct {
	rt      *Runtime
	ptr     unsafe.Pointer
	inputs  []string
	outputs []string
	cin     []*C.char
	cout    []*C.char
	options runOptions
	close   sync.Once
}

// runOptions are by what runs are told to end. Those of runs that were not are used
// again: there are as many as runs have gone on at once.
type runOptions struct {
	mu   sync.Mutex
	idle []unsafe.Pointer
}

func (o *runOptions) take(rt *Runtime) (unsafe.Pointer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.idle); n > 0 {
		opts := o.idle[n-1]
		o.idle = o.idle[:n-1]
		return opts, nil
	}
	var opts unsafe.Pointer
	err := check(C.redoubt_run_options(rt.api, &opts))
	return opts, err
}

func (o *runOptions) put(opts unsafe.Pointer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.idle = append(o.idle, opts)
}

// watch looks whether a run's context ends before the run does.
type watch struct {
	timer *time.Timer
	begun sync.WaitGroup
	stop  func() bool
	ended chan struct{}
}

// unwatched is how long a run goes on before anybody looks: most are over by then, and
// to hear of a context's end costs as much as a small run. A context that ends meanwhile
// ends the run that much later.
const unwatched = 20 * time.Millisecond

// watchRun calls terminate if ctx ends before the watch does.
func watchRun(ctx context.Context, terminate func()) *watch {
	w := &watch{}
	w.begun.Add(1)
	w.timer = time.AfterFunc(unwatched, func() {
		defer w.begun.Done()
		w.ended = make(chan struct{})
		w.stop = context.AfterFunc(ctx, func() {
			terminate()
			close(w.ended)
		})
	})
	return w
}

// end reports whether the run was told to end. After it nobody is.
func (w *watch) end() bool {
	if w.timer.Stop() {
		return false
	}
	if w.begun.Wait(); w.stop() {
		return false
	}
	<-w.ended
	return true
}

// NewSession prepares a model. Its inputs are the graph's feeds, its outputs
// the graph's outputs, in their order.
func (rt *Runtime) NewSession(m *onnx.Model, o Options) (*Session, error) {
	raw, err := m.Encode()
	if err != nil {
		return nil, fmt.Errorf("prepare model: %w", err)
	}
	if o.Threads == 0 {
		o.Threads = 1
	}
	level := C.int(allOptimisations)
	switch {
	case o.Plain:
		level = 0
	case holdsHalf(m.Graph):
		level = extendedOptimisations
	}
	s := &Session{rt: rt}
	msg := C.redoubt_session(rt.api, rt.env, unsafe.Pointer(unsafe.SliceData(raw)), C.size_t(len(raw)),
		C.int(o.Threads), truth(o.Spin), level, truth(!o.NoArena), &s.ptr)
	if err := check(msg); err != nil {
		return nil, fmt.Errorf("prepare model: ONNX Runtime %s refuses it: %w", rt.version, err)
	}
	for _, v := range m.Graph.Feeds() {
		s.inputs = append(s.inputs, v.Name)
		s.cin = append(s.cin, C.CString(v.Name))
	}
	for _, v := range m.Graph.Outputs {
		s.outputs = append(s.outputs, v.Name)
		s.cout = append(s.cout, C.CString(v.Name))
	}
	return s, nil
}

// The C interface's GraphOptimizationLevel. With all of them on, ONNX Runtime
// (1.30 and 1.32) ends the process when it prepares some float16 networks, a
// vision transformer among them; one level below it prepares and runs them.
const (
	extendedOptimisations = 2
	allOptimisations      = 99
)

// holdsHalf reports whether a graph computes in float16.
func holdsHalf(g *onnx.Graph) bool {
	for _, t := range g.Initializers {
		if t.Type == onnx.Float16 {
			return true
		}
	}
	for _, v := range g.Inputs {
		if v.Type != nil && v.Type.Tensor != nil && v.Type.Tensor.Elem == onnx.Float16 {
			return true
		}
	}
	for _, n := range g.AllNodes {
		if onnx.DataType(n.Int("to", 0)) == onnx.Float16 {
			return true
		}
		if a := n.Attr("value"); a != nil && a.Tensor != nil && a.Tensor.Type == onnx.Float16 {
			return true
		}
	}
	return false
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// Inputs and Outputs are the session's names, in the order that Run takes and
// fills them.
func (s *Session) Inputs() []string { return s.inputs }

// Outputs are the names of the session's outputs.
func (s *Session) Outputs() []string { return s.outputs }

// Close releases the session. It must not be running.
func (s *Session) Close() {
	s.close.Do(func() {
		C.redoubt_release_session(s.rt.api, s.ptr)
		for _, opts := range s.options.idle {
			C.redoubt_release_run_options(s.rt.api, opts)
		}
		for _, p := range append(s.cin, s.cout...) {
			C.free(unsafe.Pointer(p))
		}
	})
}

// Run runs the session once: in holds one array an input, out one an output,
// whose shapes must be the shapes the model produces. A cancelled context ends
// the run early with the context's error.
func (s *Session) Run(ctx context.Context, in, out []*Array) error {
	if len(in) != len(s.inputs) || len(out) != len(s.outputs) {
		return fmt.Errorf("run model: %d inputs and %d outputs given, want %d and %d",
			len(in), len(out), len(s.inputs), len(s.outputs))
	}
	vin, vout := make([]unsafe.Pointer, len(in)), make([]unsafe.Pointer, len(out))
	for i, a := range in {
		vin[i] = a.value
	}
	for i, a := range out {
		vout[i] = a.value
	}
	return s.run(ctx, vin, vout, nil)
}

// run fills the nil entries of out with values that the library allocates, and views,
// if there are any, with what these are.
func (s *Session) run(ctx context.Context, in, out []unsafe.Pointer, views []C.redoubt_view) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var opts unsafe.Pointer
	if ctx != context.Background() {
		var err error
		if opts, err = s.options.take(s.rt); err != nil {
			return fmt.Errorf("run model: %w", err)
		}
		w := watchRun(ctx, func() { C.redoubt_terminate(s.rt.api, opts) })
		defer func() {
			if w.end() {
				C.redoubt_release_run_options(s.rt.api, opts)
			} else {
				s.options.put(opts)
			}
		}()
	}
	msg := C.redoubt_run(s.rt.api, s.ptr, opts,
		(**C.char)(unsafe.SliceData(s.cin)), unsafe.SliceData(in), C.size_t(len(in)),
		(**C.char)(unsafe.SliceData(s.cout)), C.size_t(len(out)), unsafe.SliceData(out), unsafe.SliceData(views))
	if err := check(msg); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("run model: %w", err)
	}
	return nil
}
