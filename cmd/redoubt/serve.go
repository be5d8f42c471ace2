package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve"
)

// serveFlags are what can be said without a configuration file.
type serveFlags struct {
	models []string
	data   string
	name   string
	rest   string
	grpc   string
	admin  string
}

func newServe(a *app) *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve [--config gateway.yaml | --model [NAME=]FILE.onnx ...]",
		Short: "Put models on the network behind a gateway",
		Long: `Put models on the network behind a gateway.

Every call is authenticated, permitted, limited, validated and recorded before
the model sees it. Clients speak the Open Inference Protocol (KServe, Triton)
over REST, with JSON or binary tensors, or gRPC; people without tensors send
named features or text.

Without a configuration file the models are given by --model, and everything
else is kept in a folder of the user's: accounts, the log, and a TLS certificate
made at the first start. docs/serving.md has every setting.

SIGHUP has the configuration, the certificate and the models read again; if any
of it is wrong, everything stays as it was. SIGTERM drains: calls under way are
answered.`,
		Example: `  redoubt serve --model digits.onnx
  redoubt user add --service ci --role model_user
  TOKEN=$(redoubt token create --account ci laptop)
  redoubt serve --config gateway.yaml`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{ownConfig: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), func() (*serve.Config, error) { return f.config(a.config) })
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.models, "model", nil, "ONNX file to serve, or NAME=FILE; repeatable")
	flags.StringVar(&f.data, "data", "", "folder of accounts, log, certificate and socket (default: in the user's data directory)")
	flags.StringVar(&f.name, "name", "", "what the server calls itself to clients (default: redoubt)")
	flags.StringVar(&f.rest, "rest", "", "address of REST, the API and the pages (default: 127.0.0.1:8443)")
	flags.StringVar(&f.grpc, "grpc", "", "address of gRPC, or 'off' (default: 127.0.0.1:8444)")
	flags.StringVar(&f.admin, "admin", "", "address of /livez, /readyz and /metrics, or 'off' (default: 127.0.0.1:8445)")
	return cmd
}

// config is the file's, with what flags say.
func (f *serveFlags) config(path string) (*serve.Config, error) {
	cfg := &serve.Config{}
	if path != "" {
		var err error
		if cfg, err = serve.ReadConfig(path); err != nil {
			return nil, err
		}
	}
	for _, m := range f.models {
		name, file, named := strings.Cut(m, "=")
		if !named {
			file = m
			name = strings.TrimSuffix(filepath.Base(m), filepath.Ext(m))
		}
		file, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		cfg.Models = append(cfg.Models, serve.Model{Name: name, Path: file})
	}
	for _, set := range []struct {
		to    *string
		value string
	}{{&cfg.Data, f.data}, {&cfg.Name, f.name}, {&cfg.Listen.REST, f.rest}, {&cfg.Listen.GRPC, f.grpc}, {&cfg.Listen.Admin, f.admin}} {
		if set.value != "" {
			*set.to = set.value
		}
	}
	if len(cfg.Models) == 0 && path == "" {
		return nil, errors.New("no model to serve: give --model FILE.onnx, or --config FILE")
	}
	return cfg, cfg.Check()
}

// serve runs the gateway until it is told to stop.
func (a *app) serve(ctx context.Context, read func() (*serve.Config, error)) error {
	cfg, err := read()
	if err != nil {
		return err
	}
	calmCollector()
	defer runtime.KeepAlive(ballast())
	logger := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	redis.SetLogger(libraryLog{logger})
	var rt *ort.Runtime
	processors := runtime.GOMAXPROCS(0)
	if cfg.Local() {
		if rt, err = ort.Open(a.ort); err != nil {
			return err
		}
		spareProcessors()
	}
	maskLog, err := newLogMask()
	if err != nil {
		return err
	}
	s, err := serve.Start(ctx, cfg, serve.Options{Runtime: rt, Logger: logger, Version: version(), Processors: processors, Memory: availableMemory(os.DirFS("/")), Mask: maskLog, Personal: newPersonalData})
	if err != nil {
		return err
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	if err := a.welcome(ctx, cfg, s); err != nil {
		logger.Error("the first administrator cannot be enrolled", "error", err.Error())
	}
	tell(logger, daemon.SdNotifyReady, "serving")
	var watching sync.WaitGroup
	defer watching.Wait()
	done := make(chan struct{})
	defer close(done)
	watching.Go(func() {
		for {
			select {
			case <-reload:
				tell(logger, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec(), "reloading the configuration")
				status := "serving"
				if err := s.Reload(ctx, read); err != nil { // which is logged and recorded
					status = "serving as before: the configuration was refused, see the log"
				}
				tell(logger, daemon.SdNotifyReady, status)
			case <-ctx.Done():
				tell(logger, daemon.SdNotifyStopping, "draining")
				return
			case <-done:
				return
			}
		}
	})
	return s.Run(ctx)
}

// libraryLog is where the client of Redis writes what it meets, beside what the limits
// say of it: a line for each try to reach a server that is lost.
type libraryLog struct{ *slog.Logger }

func (l libraryLog) Printf(ctx context.Context, format string, args ...any) {
	l.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// spareProcessors has Go run half as many goroutines more at once than there are
// processors. A run of a model is a call of C, during which Go counts its processor as
// taken until a watcher has seen that it lasts; meanwhile calls would wait for it while
// another processor idles. With a single one there is no other. Who sets GOMAXPROCS
// knows better; the limit of a container is read here, and not again when it changes.
func spareProcessors() {
	if n := runtime.GOMAXPROCS(0); n > 1 && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n + n/2)
	}
}

// welcome tells whoever started the server how to use it.
func (a *app) welcome(ctx context.Context, cfg *serve.Config, s *serve.Server) error {
	first, err := s.FirstAdministrator(ctx)
	if err != nil || a.quiet && first == "" {
		return err
	}
	w := os.Stderr
	names := cfg.Names()
	if cfg.Pushed() {
		names = append(names, "what is pushed")
	}
	fmt.Fprintf(w, "serving %s\n", strings.Join(names, ", "))
	if at := s.Address("rest"); at != "" {
		fmt.Fprintf(w, "  REST         https://%s/v2\n", at)
	}
	if at := s.Address("grpc"); at != "" {
		fmt.Fprintf(w, "  gRPC         %s\n", at)
	}
	if at := s.Address("admin"); at != "" {
		fmt.Fprintf(w, "  metrics      http://%s/metrics\n", at)
	}
	if c := s.Certificate(); c != nil {
		fmt.Fprintf(w, "  certificate  %s\n  fingerprint  SHA-256 %s\n", c.File(), c.Fingerprint())
	} else {
		fmt.Fprintf(w, "  certificate  issued by ACME for %s\n", strings.Join(cfg.TLS.ACME.Hosts, ", "))
	}
	switch {
	case first == "":
	case !term.IsTerminal(int(w.Fd())): // the link would stand in a log
		fmt.Fprintf(w, "\nNobody can administer yet. For an address at which sign-in is set up, as this user or root:\n  redoubt user enrol %s --data %s\n", first, cfg.Data)
	default:
		link, err := s.Enrolment(ctx, first)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "\nNobody can administer yet. Set up sign-in at this address, which works once:\n  %s\n", link)
	}
	return nil
}
