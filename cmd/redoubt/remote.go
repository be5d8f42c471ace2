package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/assess"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/remote"
)

// What an endpoint is spared unless its owner allows more.
const (
	remoteQueries = 500 // answers a sample for each attack
	remoteBudget  = 10_000
	remoteRate    = 20
	// remoteBatch is how many samples share an attack where a budget may end it:
	// what is under way then is lost.
	remoteBatch = 16
)

// remoteFlags are the settings of a target behind an address.
type remoteFlags struct {
	flags             *pflag.FlagSet // these alone, to tell them from the others
	authorised        string
	budget            int64
	rate              float64
	timeout           time.Duration
	token, header     string
	ca, cert, key     string
	insecure, dryRun  bool
	request, response string
	answers, classes  string
}

func (r *remoteFlags) register(all *pflag.FlagSet) {
	fl := pflag.NewFlagSet("remote", pflag.ContinueOnError)
	fl.StringVar(&r.authorised, "i-am-authorised", "", "who allowed the attack on a URL, with ticket and date; kept in the report (required for a URL)")
	fl.BoolVar(&r.dryRun, "dry-run", false, "put five samples or so to the URL, show what the attacks may ask and how long they take, and stop")
	fl.Int64Var(&r.budget, "query-budget", remoteBudget, "most samples put to the URL, all told; 0 for any number")
	fl.Float64Var(&r.rate, "rate", remoteRate, "most samples a second put to the URL; 0 for any")
	fl.DurationVar(&r.timeout, "timeout", 30*time.Second, "longest wait for one answer of the URL")
	fl.StringVar(&r.token, "token", "", "bearer token for the URL, as env:NAME or file:PATH")
	fl.StringVar(&r.header, "token-header", "", "header that takes the token as it is, such as X-Api-Key (default: Authorization, as a bearer token)")
	fl.StringVar(&r.ca, "ca", "", "PEM file of the authorities to trust instead of the system's")
	fl.StringVar(&r.cert, "cert", "", "PEM file of a certificate to show to the URL's server, with --key")
	fl.StringVar(&r.key, "key", "", "PEM file of the key of --cert")
	fl.BoolVar(&r.insecure, "insecure-http", false, "allow http to another host, in the clear")
	fl.StringVar(&r.request, "request", "", `JSON to send, with $x for the samples or $row for one, such as '{"instances": $x}'`)
	fl.StringVar(&r.response, "response", "", "where the answers stand, such as 'predictions[*].scores'")
	fl.StringVar(&r.answers, "answers", "auto", "what the URL answers with: auto, scores, probabilities, labels")
	fl.StringVar(&r.classes, "classes", "", "classes of a URL that answers with labels: how many, or their names in order (default: from the data)")
	r.flags = fl
	all.AddFlagSet(fl)
}

// unused refuses flags that mean nothing to a model file.
func (r *remoteFlags) unused(cmd *cobra.Command) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if r.flags.Lookup(f.Name) != nil {
			err = fmt.Errorf("--%s is for a model behind a URL, and this one is a file", f.Name)
		}
	})
	return err
}

// config reads the flags, and the secrets that they point to.
func (r *remoteFlags) config(f *assessFlags, set *data.Set) (remote.Config, error) {
	cfg := remote.Config{
		Input: f.Input, Output: f.Output, Mean: f.Mean, Std: f.Std, Layout: f.Layout,
		Request: r.request, Response: r.response, Budget: r.budget, Rate: r.rate, Timeout: r.timeout,
		Header: r.header, CA: r.ca, Cert: r.cert, Key: r.key, InsecureHTTP: r.insecure,
	}
	if strings.TrimSpace(r.authorised) == "" {
		return cfg, errors.New("attacking an endpoint needs the leave of its owner: say who gave it with --i-am-authorised 'NAME, ticket, date'; the report keeps the statement")
	}
	if (r.cert == "") != (r.key == "") {
		return cfg, errors.New("--cert and --key go together")
	}
	if r.header != "" && r.token == "" {
		return cfg, errors.New("--token-header names a header for the token: give --token too")
	}
	var err error
	if cfg.Answers, err = remote.ParseAnswers(r.answers); err != nil {
		return cfg, fmt.Errorf("--answers: %w", err)
	}
	if r.token != "" {
		if cfg.Token, err = remote.Secret(r.token); err != nil {
			return cfg, fmt.Errorf("--token: %w", err)
		}
	}
	switch n, err := strconv.Atoi(r.classes); {
	case r.classes == "":
		if cfg.Names = set.Classes; len(cfg.Names) == 0 {
			cfg.Classes = slices.Max(set.Y) + 1
		}
	case err == nil:
		cfg.Classes = n
	default:
		cfg.Names = strings.Split(r.classes, ",")
	}
	return cfg, nil
}

// fitted is an endpoint for samples of a shape.
type fitted struct {
	*remote.Endpoint
	sample []int
}

// Sample is the shape of one sample.
func (f fitted) Sample() []int { return f.sample }

// openRemote reads the data, opens the endpoint, fits one to the other, and puts
// a few samples to the endpoint.
func (a *app) openRemote(ctx context.Context, address string, f *assessFlags, cfg *assess.Config) (*data.Set, fitted, error) {
	layout, err := data.ParseLayout(f.Layout)
	if err != nil {
		return nil, fitted{}, err
	}
	set, err := data.Open(f.Data, data.Options{Schema: f.Schema, Label: f.Label})
	if err != nil {
		return nil, fitted{}, err
	}
	settings, err := f.remote.config(f, set)
	if err != nil {
		return nil, fitted{}, err
	}
	e, err := remote.Open(ctx, address, settings)
	if err != nil {
		return nil, fitted{}, err
	}
	if declared, ok := e.Declared(); ok {
		if err := set.For(append([]int64{-1}, declared...), layout); err != nil {
			return nil, fitted{}, err
		}
	}
	if err := e.Try(ctx, set.Head(4).X); err != nil {
		return nil, fitted{}, err
	}
	m := fitted{e, slices.Clone(set.X.Shape[1:])}
	set, err = f.fit(set, m, layout, cfg)
	return set, m, err
}

// assessRemote is assess for a model behind an address.
func (a *app) assessRemote(cmd *cobra.Command, address string, f *assessFlags) (err error) {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if cfg.Certify > 0 {
		return errors.New("--certify proves from a model's graph, and of an endpoint only answers are seen: leave it out")
	}
	set, m, err := a.openRemote(cmd.Context(), address, f, &cfg)
	if err != nil {
		return err
	}
	rt, err := ort.Open(a.ort)
	if err != nil && a.ort != "" {
		return err
	}
	target := assess.Remote(m.Endpoint, m.sample, rt)
	target.Info.Path = strings.TrimSuffix(address, "/")
	f.spare(cmd, &cfg)
	steps, err := assess.Plan(target, set, cfg)
	if err != nil {
		return err
	}
	if f.remote.dryRun {
		return f.remote.plan(cmd.OutOrStdout(), m.Endpoint, set, steps)
	}
	if err := f.remote.affordable(cmd.ErrOrStderr(), a.quiet, m.Endpoint, steps); err != nil {
		return err
	}
	outputs, err := f.reserve()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, outputs.discard()) }()
	if f.resume != "" {
		r := &f.remote
		id := redoubt.DigestBytes([]byte(strings.Join([]string{target.Info.Path, r.request, r.response, r.answers, r.classes}, "\n")))
		if cfg.Journal, err = assess.OpenJournal(f.resume, f.key(id, set.Digest)); err != nil {
			return err
		}
		defer cfg.Journal.Close()
	}
	p := newProgress(a.quiet)
	cfg.Progress = p.report
	result, err := assess.Run(cmd.Context(), target, set, cfg)
	p.clear()
	if err != nil {
		return err
	}
	f.remote.enter(result, m.Endpoint, rt)
	result.SamplesFile = f.samples
	result.Tool.Machine, result.Tool.Command = machine(), commandLine(os.Args)
	if err := a.publish(cmd, result, cfg.Gates, outputs); err != nil {
		return err
	}
	if result.Model.Remote.BudgetSpent {
		return fmt.Errorf("the query budget of %d was spent before the attacks were done: %w", f.remote.budget, redoubt.ErrUndecided)
	}
	return nil
}

// spare settles what was left open so that it suits an endpoint.
func (f *assessFlags) spare(cmd *cobra.Command, cfg *assess.Config) {
	if cfg.Queries == 0 {
		cfg.Queries = remoteQueries
	}
	if f.remote.budget > 0 && !cmd.Flags().Changed("batch") {
		cfg.Batch = remoteBatch
	}
	if !cmd.Flags().Changed("threads") {
		cfg.Workers = 1 // which sample the last query goes to is then the same each time
	}
}

// enter puts on record by whose leave the endpoint was asked, and what.
func (r *remoteFlags) enter(result *redoubt.Assessment, e *remote.Endpoint, rt *ort.Runtime) {
	done := e.Account()
	result.Model.Remote = &redoubt.Remote{
		Protocol: e.Protocol(), Authorisation: r.authorised, Budget: r.budget, Rate: r.rate,
		Queries: done.Queries, Requests: done.Requests, Refused: done.Refused, Retried: done.Retried,
	}
	for _, t := range result.Threats {
		for _, f := range t.Reliability.Flags {
			result.Model.Remote.BudgetSpent = result.Model.Remote.BudgetSpent || f.ID == "budget-spent"
		}
	}
	if rt == nil {
		result.NotTested = append(result.NotTested, "Points made for another network that imitates the endpoint: there was no ONNX Runtime to train one with.")
		return
	}
	result.Tool.Runtime = rt.Version()
}

// total is the most that all steps ask.
func total(steps []assess.Step) int64 {
	var sum int64
	for _, s := range steps {
		sum += s.Queries
	}
	return sum
}

// plan prints what the steps may ask, and how long that takes.
func (r *remoteFlags) plan(w io.Writer, e *remote.Endpoint, set *data.Set, steps []assess.Step) error {
	var b strings.Builder
	asked := e.Account().Queries
	fmt.Fprintf(&b, "%s, %v of %d classes; %d samples\n", e.Protocol(), e.Access(), e.Classes(), set.X.Rows())
	fmt.Fprintf(&b, "asked so far: %d queries, to learn how the endpoint answers\n\nat most\n", asked)
	for _, s := range steps {
		fmt.Fprintf(&b, "%12d  %s\n", s.Queries, s.Name)
	}
	sum := total(steps)
	fmt.Fprintf(&b, "%12d  in all\n", sum)
	if r.rate > 0 {
		fmt.Fprintf(&b, "%12s  at %g queries a second\n", time.Duration(float64(sum)/r.rate*float64(time.Second)).Round(time.Second), r.rate)
	}
	if left, limited := e.Left(); limited && left < sum {
		fmt.Fprintf(&b, "\n--query-budget %d leaves %d: the run would stop when they are spent, or be done before if samples fall early\n", r.budget, left)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// affordable refuses a budget that ends before the first attack, and warns of
// one that may end before the last.
func (r *remoteFlags) affordable(w io.Writer, quiet bool, e *remote.Endpoint, steps []assess.Step) error {
	left, limited := e.Left()
	if !limited {
		return nil
	}
	before := steps[0].Queries
	if steps[1].Name == assess.BeforeAttacks {
		before += steps[1].Queries
	}
	if left <= before {
		return fmt.Errorf("--query-budget %d leaves %d queries, and the samples as they are and the checks before any attack take up to %d: raise it, or use fewer samples with --limit",
			r.budget, left, before)
	}
	if sum := total(steps); sum > left && !quiet {
		fmt.Fprintf(w, "the attacks may ask up to %d queries, the budget leaves %d: the run stops when it is spent (--dry-run shows the plan)\n", sum, left)
	}
	return nil
}
