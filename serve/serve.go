// Package serve runs the gateway with everything it needs: the store, the log,
// identities, policies, limits, models and listeners, joined as a configuration
// says.
//
//	cfg, err := serve.ReadConfig("gateway.yaml")
//	...
//	s, err := serve.Start(ctx, cfg, serve.Options{Runtime: rt, Logger: logger})
//	...
//	err = s.Run(ctx)  // until ctx ends; then it drains
//
// The rooms below it know nothing of one another beyond what each declares; this
// is the place where they meet.
package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/crypto/acme/autocert"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve/control"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/identity/web"
	"github.com/redoubt-ml/redoubt/serve/limit"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
	"github.com/redoubt-ml/redoubt/serve/registry"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/watch/audit"
	"github.com/redoubt-ml/redoubt/watch/witness"
)

// Options are what a configuration file cannot say.
type Options struct {
	// Runtime runs models in this process; nil where all are upstream.
	Runtime *ort.Runtime
	Logger  *slog.Logger
	// Version is that of the program.
	Version string
	// Processors is how many the process may use, which is how many threads the runs
	// of a model take together where its settings do not say; 0 means GOMAXPROCS.
	Processors int
	// Memory is how many bytes the process may use; 0 where that is not known.
	Memory int64
	// Mask replaces personal data in what the log says; nil leaves that to the log
	// itself, which knows cards, addresses and tokens.
	Mask func(string) string
	// Personal finds personal data as a model's settings say, of which Policy is a
	// path and Key the secret itself; nil where there is nothing that does.
	Personal func(p Personal) (gateway.PersonalData, error)
}

// Server is a running gateway.
type Server struct {
	cfg *Config // that it was started with
	opt Options

	// What a reload changes.
	changing   sync.Mutex
	current    atomic.Pointer[Config]
	security   atomic.Pointer[security]
	engines    engines // all, and own those of configured models
	own        engines
	configured []*gateway.Model
	pushed     pushed
	starting   bool
	renewed    chan struct{}   // something was offered
	settled    <-chan struct{} // closed when what was offered before is closed
	retiring   sync.WaitGroup
	ending     chan struct{}
	reloaded   atomic.Pointer[reloading]

	issuer *autocert.Manager // nil without ACME

	db       *store.DB
	log      *audit.Log
	witness  *witness.Server // nil where no log of another is watched
	who      *identity.Service
	rules    *policy.Engine
	keeper   *admin.Keeper
	registry *registry.Registry  // nil where there is none
	traces   *sdk.TracerProvider // nil where calls are not traced
	limits   limit.Taker
	metrics  *prometheus.Registry
	gateway  *gateway.Gateway
	close    []func() error // in the order of opening

	rest, admin, socket *http.Server
	rpc                 *grpc.Server
	largest             int // message that rpc takes, in bytes
	listeners           map[string]net.Listener
	failed              chan error // of a listener
}

// Start opens everything and begins to listen. What it began is closed again
// when a later step fails.
func Start(ctx context.Context, cfg *Config, opt Options) (_ *Server, err error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, opt: opt, ending: make(chan struct{}), renewed: make(chan struct{}, 1), listeners: map[string]net.Listener{}, failed: make(chan error, 4),
		metrics: prometheus.NewRegistry(),
	}
	s.current.Store(cfg)
	s.reloaded.Store(&reloading{ok: true, held: time.Now()})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeAll())
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	for _, step := range []func(context.Context) error{s.openLog, s.openStore, s.keepLog, s.openIdentity, s.openPolicy, s.openRegistry, s.openGateway, s.listen} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// later has something closed at the end.
func (s *Server) later(close func() error) { s.close = append(s.close, close) }

func (s *Server) closeAll() error {
	var err error
	for i := len(s.close) - 1; i >= 0; i-- {
		err = errors.Join(err, s.close[i]())
	}
	s.close = nil
	return err
}

func (s *Server) openStore(ctx context.Context) error {
	url := s.cfg.Store
	if url == "" {
		url = "sqlite:" + filepath.Join(s.cfg.Data, "redoubt.db")
	} else if !strings.HasPrefix(url, "sqlite:") {
		var err error
		if url, err = s.cfg.secret("store", url); err != nil {
			return err
		}
	}
	db, err := store.Open(ctx, url)
	if err != nil {
		return err
	}
	s.db = db
	s.later(db.Close)
	return nil
}

func (s *Server) openIdentity(ctx context.Context) error {
	cfg, err := s.cfg.identity()
	if err != nil {
		return err
	}
	cfg.Store, cfg.Recorder = s.db, newCounted(requests{s.log}, s.metrics)
	if s.who, err = identity.Open(ctx, cfg); err != nil {
		return err
	}
	s.later(func() error { s.who.Close(); return nil })
	return nil
}

func (s *Server) openGateway(ctx context.Context) error {
	var err error
	if s.limits, err = s.limiter(ctx); err != nil {
		return err
	}
	tracer, err := s.tracer(ctx)
	if err != nil {
		return err
	}
	if s.gateway, err = gateway.New(gateway.Config{
		Identity: s.who, Policy: s.rules, Limits: s.limits, Record: s.log,
		Version: s.opt.Version, Metrics: gateway.NewMetrics(s.metrics), Tracer: tracer, Logger: s.opt.Logger,
	}); err != nil {
		return err
	}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), meter{s})
	s.admin = s.server(s.adminHandler())
	if err := s.openIssuer(); err != nil {
		return err
	}
	s.starting = true
	p, err := s.prepare(ctx, s.cfg)
	s.starting = false
	if err != nil {
		return err
	}
	s.security.Store(p.security)
	nothing := make(chan struct{}) // was offered before
	close(nothing)
	s.settled = nothing
	s.put(p)
	s.later(s.closeEngines)
	return s.followRegistry(ctx)
}

// closeEngines closes all there are, after those that were on their way out.
func (s *Server) closeEngines() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	close(s.ending)
	s.retiring.Wait()
	for _, e := range s.engines {
		e.Close() // it waits, and has nothing to say
	}
	s.engines = nil
	return nil
}

// limiter counts in memory, or in Redis where nodes share it.
func (s *Server) limiter(ctx context.Context) (limit.Taker, error) {
	address, err := s.cfg.secret("limits.redis", s.cfg.Limits.Redis)
	if err != nil || address == "" {
		return limit.NewMemory(limit.MemoryConfig{}), err
	}
	r, err := limit.NewRedis(limit.RedisConfig{URL: address, Nodes: s.cfg.Limits.Nodes, Logger: s.opt.Logger})
	if err != nil {
		return nil, err
	}
	s.later(r.Close)
	return r, nil
}

const (
	idleTime   = 2 * time.Minute // between requests
	maxHeaders = 32 << 10        // bytes
)

// server is an HTTP server that is patient with its clients within bounds.
func (s *Server) server(h http.Handler) *http.Server {
	l, slowest := s.cfg.Limits, modelTime // of models that are pushed
	for _, m := range s.cfg.Models {
		slowest = max(slowest, cmp.Or(m.Timeout, modelTime))
	}
	receive := l.HeaderTime + l.BodyTime
	return &http.Server{
		Handler: lingering(s.unbroken(h)), MaxHeaderBytes: maxHeaders,
		ErrorLog:          slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelDebug), // of handshakes that failed
		ReadHeaderTimeout: l.HeaderTime, ReadTimeout: receive, WriteTimeout: receive + slowest + l.AnswerTime, IdleTimeout: idleTime,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is answered like any other path that there is not
		HTTP2:                        &http.HTTP2Config{WriteByteTimeout: l.AnswerTime, SendPingTimeout: idleTime, PingTimeout: l.HeaderTime},
	}
}

// unbroken answers also where a handler crashes.
func (s *Server) unbroken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { // the way to break off an answer
				panic(p)
			}
			id := w.Header().Get("X-Request-Id")
			s.opt.Logger.Error("a request crashed", "request", id, "error", fmt.Sprint(p), "stack", string(debug.Stack()))
			oip.WriteError(w, errors.New("the request crashed"), id)
		}()
		next.ServeHTTP(w, r)
	})
}

// Most of a body that is not read because the request is refused, and how long is waited
// for it.
const (
	mostUnread = 16 << 20 // bytes
	lingerTime = 5 * time.Second
)

// lingering lets a client finish sending a body that nobody wants before the connection
// is closed, within bounds: most read the answer only then, and find the connection gone
// instead.
func lingering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.Body == http.NoBody || r.Header.Get("Expect") != "" { // who expects leave to send has none
			next.ServeHTTP(w, r)
			return
		}
		body := &sentBody{ReadCloser: r.Body}
		// Of a copy: net/http looks at the body of its own request to see whether the
		// connection may be used again.
		mine := *r
		mine.Body = body
		next.ServeHTTP(w, &mine)
		control := http.NewResponseController(w)
		if body.ended || control.Flush() != nil || control.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, body, mostUnread) // it came or did not
	})
}

// sentBody is a body of which is known whether it was read to its end.
type sentBody struct {
	io.ReadCloser
	ended bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err != nil
	return n, err
}

// listen opens the listeners and serves.
func (s *Server) listen(context.Context) error {
	api := control.New(control.Config{
		Identity: s.who, Engine: s.rules, Keeper: s.keeper, Gateway: s.gateway, Log: s.log,
		Registry: s.registry, Refresh: func(ctx context.Context) error { return s.refresh(ctx, false) }, Configured: s.reserved, Limited: s.cfg.Limits.Principal != "" || s.cfg.Limits.Address != "" || s.cfg.Limits.Everyone != "",
		Origin: s.cfg.Identity.Origin, BodyTime: s.cfg.Limits.BodyTime, Logger: s.opt.Logger, Version: s.opt.Version,
	})
	s.rest = s.server(s.routes(api))
	s.rest.TLSConfig = s.listenerTLS()
	shapeOwn(s.rest)
	for _, m := range s.cfg.Models {
		s.largest = max(s.largest, int(m.MaxBody))
	}
	s.rpc = s.gateway.Server(credentials.NewTLS(s.listenerTLS()), s.largest)
	s.socket = s.server(api.Handler())
	s.socket.ConnContext = control.ConnContext
	s.later(func() error { // closed already after a drain
		s.rpc.Stop()
		var failed []error
		for _, srv := range []*http.Server{s.rest, s.socket, s.admin} {
			if err := srv.Close(); !errors.Is(err, net.ErrClosed) { // as its listener may be
				failed = append(failed, err)
			}
		}
		return errors.Join(failed...)
	})
	for _, l := range []struct {
		name, network, address string
		serve                  func(net.Listener) error
	}{
		{"rest", "tcp", s.cfg.Listen.REST, func(l net.Listener) error { return s.rest.Serve(s.greeted(l)) }},
		{"grpc", "tcp", s.cfg.Listen.GRPC, s.rpc.Serve},
		{"admin", "tcp", s.cfg.Listen.Admin, s.admin.Serve},
		{"socket", "unix", SocketPath(s.cfg.Data), s.socket.Serve},
	} {
		if l.address == off {
			continue
		}
		listener, err := open(l.network, l.address)
		if err != nil {
			return fmt.Errorf("listen at %s: %w", l.address, err)
		}
		s.later(func() error { listener.Close(); return nil }) // closed already after a drain
		s.listeners[l.name] = listener
		go func() {
			if err := l.serve(listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) && err != nil {
				s.failed <- fmt.Errorf("serve %s: %w", l.name, err)
			}
		}()
	}
	return nil
}

// greeted is a listener after the handshakes.
func (s *Server) greeted(l net.Listener) net.Listener {
	return greet(l, s.rest.TLSConfig, s.cfg.Limits.HeaderTime, func(from net.Addr, err error) {
		s.opt.Logger.Debug("a handshake failed", "from", from.String(), "error", err.Error())
	})
}

// SocketPath is where a server listens for its own machine's user.
func SocketPath(data string) string { return filepath.Join(data, "redoubt.sock") }

// open listens; at a Unix socket only the user himself gets in.
func open(network, address string) (net.Listener, error) {
	if network != "unix" {
		return net.Listen(network, address)
	}
	// The audit log has one writer, so a socket that is there is a dead server's.
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(address, 0o600); err != nil { // in a folder that others cannot enter
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// routes puts the gateway, the control API and the pages at one address. It is no
// http.ServeMux: that answers some requests by itself, without the headers and
// the id that every answer of ours has.
func (s *Server) routes(api *control.API) http.Handler {
	calls, administration, pages := s.gateway.Handler(), api.Handler(), web.Handler(web.Config{Identity: s.who})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p := r.URL.Path; {
		case strings.HasPrefix(p, "/witness/") && s.witness != nil:
			http.StripPrefix("/witness", s.witness).ServeHTTP(w, r.WithContext(gateway.Secure(w, r)))
		case strings.HasPrefix(p, "/auth/"):
			pages.ServeHTTP(w, r.WithContext(gateway.Secure(w, r)))
		case strings.HasPrefix(p, "/api/v1/models/") && strings.HasSuffix(p, "/predict"):
			calls.ServeHTTP(w, r)
		case strings.HasPrefix(p, "/api/v1/"):
			administration.ServeHTTP(w, r)
		default:
			calls.ServeHTTP(w, r)
		}
	})
}

// adminHandler serves those who watch over the process.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "live") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if reasons := s.unready(r.Context()); len(reasons) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			for _, reason := range reasons {
				fmt.Fprintln(w, reason)
			}
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(gateway.Secure(w, r)))
	})
}

// unready says what keeps the server from answering. A lost database does not:
// what is in memory goes on.
func (s *Server) unready(ctx context.Context) []string {
	var reasons []string
	if !s.gateway.Ready() {
		reasons = append(reasons, "draining")
	}
	if err := s.log.Err(); err != nil {
		reasons = append(reasons, "the audit log cannot be written")
	}
	s.gateway.Use(func(models []*gateway.Model) {
		for _, m := range models {
			for _, v := range m.Versions {
				if v.Refused == "" && v.Engine.Ready(ctx) != nil {
					reasons = append(reasons, "model "+m.Name+" version "+v.Name+" is not ready")
				}
			}
		}
	})
	return reasons
}

// Address is where a listener is open: "rest", "grpc" or "admin"; "" if it is
// off.
func (s *Server) Address(name string) string {
	if l := s.listeners[name]; l != nil {
		return l.Addr().String()
	}
	return ""
}

// Identity knows the server's accounts.
func (s *Server) Identity() *identity.Service { return s.who }

// Run serves until the context ends or a listener fails. Then it says that it is
// not ready, takes calls for the time Drain, answers those under way within the
// time Grace, and closes everything.
func (s *Server) Run(ctx context.Context) error {
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-s.failed:
	}
	s.gateway.SetReady(false)
	s.opt.Logger.Info("draining")
	cfg := s.current.Load()
	time.Sleep(cfg.Drain)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Grace)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		s.rpc.GracefulStop()
		close(stopped)
	}()
	err := errors.Join(s.rest.Shutdown(grace), s.socket.Shutdown(grace))
	select {
	case <-stopped:
	case <-grace.Done():
		s.rpc.Stop()
		<-stopped
	}
	if err != nil { // calls that had no end
		err = errors.Join(s.rest.Close(), s.socket.Close())
	}
	return errors.Join(failed, err, s.admin.Shutdown(grace), s.closeAll())
}
