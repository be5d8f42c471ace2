package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/remote"
	"github.com/redoubt-ml/redoubt/privacy/mask"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/document"
)

// maskFlags say how values are replaced, and where what comes of it goes.
type maskFlags struct {
	vaultFlags
	policy, key, out, format string
	jobs                     int
}

func (f *maskFlags) add(cmd *cobra.Command) {
	f.vaultFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "YAML file that says how values are replaced (default: all redacted)")
	flags.StringVar(&f.key, "key", "", "key of the methods that need one: env:NAME or file:PATH, as 'redoubt pii key' makes it")
	flags.StringVarP(&f.out, "out", "o", "", "file for the result, or a folder where a folder is read (default: stdout)")
	flags.StringVar(&f.format, "format", "", "text, json, jsonl, csv, tsv or parquet (default: told by content and name)")
	flags.IntVar(&f.jobs, "jobs", 0, "files of a folder to rewrite at once (default: one a core)")
}

func newPIIMask(a *app) *cobra.Command {
	var f maskFlags
	var p piiFlags
	cmd := &cobra.Command{
		Use: "mask PATH", Short: "Replace personal data and secrets in a file, a folder or stdin", Args: cobra.ExactArgs(1),
		Long: `Replace personal data and secrets in a file, a folder or stdin (-).

A policy says by which method values of each type, and of each column of a table,
are replaced; without one all are redacted. Formats that can be written are text,
JSON, JSON Lines, CSV, TSV and Parquet: what is not replaced stays as it was.

What the methods token, vault and fpe make, 'redoubt pii restore' undoes with the same
policy and key. Nothing is written over the input, and a file is there whole or not
at all. See docs/pii-masking.md.`,
		Example: `  redoubt pii mask export.csv --policy mask.yaml --key file:mask.key -o export.masked.csv
  redoubt pii mask mails/ -o masked/
  tail -f app.log | redoubt pii mask - --lines --quiet`,
		RunE: func(cmd *cobra.Command, args []string) error {
			calmCollector() // what is read is garbage soon
			settings, err := p.settings(a.ort)
			if err != nil {
				return err
			}
			scanner, err := pii.New(settings)
			if err != nil {
				return err
			}
			return f.with(cmd.Context(), func(e *mask.Engine, policy *mask.Policy) error {
				m := &masking{maskFlags: &f, engine: e, policy: policy, scanner: scanner, lines: p.lines, quiet: a.quiet, counts: map[string]int{}}
				err := m.all(cmd.Context(), args[0])
				if err == nil {
					m.tell()
				}
				return err
			})
		},
	}
	p.add(cmd)
	f.add(cmd)
	return cmd
}

func newPIIRestore(a *app) *cobra.Command {
	var f maskFlags
	cmd := &cobra.Command{
		Use: "restore PATH", Short: "Put back what masking replaced, given its key", Args: cobra.ExactArgs(1),
		Long: `Put back what masking replaced, given its key.

Tokens are found wherever they stand; columns that were masked by fpe are told by the
policy, which must be the one they were masked with. Values that a vault keeps come
back for who is granted them, with a reason, and the audit record has it.

The exit code is 3 when some tokens were not restored: they are of another key or
tenant, or were erased. They stay as they are.`,
		Example: `  redoubt pii restore export.masked.csv --policy mask.yaml --key file:mask.key -o export.csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd.Context(), func(e *mask.Engine, policy *mask.Policy) error {
				m := &masking{maskFlags: &f, engine: e, policy: policy, scanner: mask.Unscanned{}, restore: true, quiet: a.quiet, counts: map[string]int{}}
				if err := m.all(cmd.Context(), args[0]); err != nil {
					return err
				}
				m.tell()
				if n := m.counts[foreign]; n > 0 {
					return fmt.Errorf("%d tokens were left as they are, being of another key or tenant, or erased: %w", n, redoubt.ErrUndecided)
				}
				return nil
			})
		},
	}
	f.add(cmd)
	return cmd
}

// with makes the engine of a policy for do.
func (f *maskFlags) with(ctx context.Context, do func(*mask.Engine, *mask.Policy) error) error {
	policy := &mask.Policy{}
	if f.policy != "" {
		text, err := readSmall(f.policy)
		if err != nil {
			return err
		}
		if policy, err = mask.ParsePolicy(text); err != nil {
			return fmt.Errorf("%s: %w", f.policy, err)
		}
	}
	in := mask.Settings{Valid: newValidity().valid}
	needsKey, needsVault := policy.Needs()
	if needsKey && f.key == "" {
		return fmt.Errorf("%s: has methods that need --key: make one with 'redoubt pii key --out mask.key' and name it as file:mask.key", f.policy)
	}
	if f.key != "" {
		var err error
		if in.Key, err = maskKey("--key", f.key); err != nil {
			return err
		}
	}
	if !needsVault {
		e, err := mask.New(policy, in)
		if err != nil {
			return err
		}
		return do(e, policy)
	}
	return f.open(ctx, func(v *openVault) error {
		in.Vault, in.Who, in.Reason = v.Vault, v.who, f.reason
		e, err := mask.New(policy, in)
		if err != nil {
			return err
		}
		return errors.Join(do(e, policy), e.Close(context.WithoutCancel(ctx)))
	})
}

// maskKey reads 32 bytes in hexadecimal.
func maskKey(flag, source string) ([]byte, error) {
	text, err := remote.Secret(source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s: want 64 hexadecimal digits, as 'redoubt pii key' makes them", flag)
	}
	return key, nil
}

// validity tells whether a text would be found as a type, as surrogates are to be.
type validity struct {
	mu       sync.Mutex
	scanners map[string]*pii.Scanner
}

func newValidity() *validity { return &validity{scanners: map[string]*pii.Scanner{}} }

func (v *validity) valid(typ, text string) bool {
	v.mu.Lock()
	s, ok := v.scanners[typ]
	if !ok {
		s, _ = pii.New(pii.Settings{Types: []string{typ}, Threshold: 0.01}) // nil where there is no such type
		v.scanners[typ] = s
	}
	v.mu.Unlock()
	if s == nil {
		return false
	}
	found, err := s.Scan(context.Background(), []byte(text))
	return err == nil && len(found) == 1 && found[0].Start == 0 && found[0].End == len(text)
}

// What became of values: restored, of another key, or of a method without a way
// back.
const (
	restored = "restored"
	foreign  = "foreign"
	oneWay   = "one way"
)

// masking is files on their way from what they were to what they are to be.
type masking struct {
	*maskFlags
	engine  *mask.Engine
	policy  *mask.Policy
	scanner document.Scanner
	restore bool
	quiet   bool
	lines   bool
	mu      sync.Mutex
	counts  map[string]int // of values, by type or by what became of them
}

func (m *masking) all(ctx context.Context, path string) error {
	if m.jobs < 0 || m.jobs > 1024 {
		return fmt.Errorf("--jobs %d: must be between 1 and 1024", m.jobs)
	}
	if info, err := os.Stat(path); path != "-" && err != nil {
		return err
	} else if path != "-" && info.IsDir() {
		return m.folder(ctx, path)
	}
	if path == "-" {
		return m.file(ctx, os.Stdin, "-", m.out)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return m.file(ctx, f, path, m.out)
}

// folder writes a file for each of a folder, under the same names.
func (m *masking) folder(ctx context.Context, path string) error {
	if m.out == "" {
		return fmt.Errorf("%s is a folder: name another one for the result with --out", path)
	}
	from, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	to, err := filepath.Abs(m.out)
	if err != nil {
		return err
	}
	if inside, err := filepath.Rel(from, to); err == nil && (inside == "." || filepath.IsLocal(inside)) {
		return fmt.Errorf("--out %s: lies within %s: what is read must not be written over", m.out, path)
	}
	files, err := piiFiles([]string{path})
	if err != nil {
		return err
	}
	bar := newProgress(m.quiet)
	defer bar.clear()
	verb := "mask"
	if m.restore {
		verb = "restore"
	}
	var next, done, failed atomic.Int64
	var workers sync.WaitGroup
	for range min(cmp.Or(m.jobs, runtime.GOMAXPROCS(0)), len(files)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(files)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := m.one(ctx, path, files[i]); err != nil && ctx.Err() == nil {
					failed.Add(1)
					bar.clear()
					fmt.Fprintf(os.Stderr, "redoubt: %v\n", err)
				}
				bar.report(verb, int(done.Add(1)), len(files))
			}
		})
	}
	workers.Wait()
	if n := failed.Load(); n > 0 && ctx.Err() == nil {
		return fmt.Errorf("%d of %d files were not written: %w", n, len(files), redoubt.ErrUndecided)
	}
	return ctx.Err()
}

// one writes the file that stands for one of a folder.
func (m *masking) one(ctx context.Context, folder, path string) error {
	rel, err := filepath.Rel(folder, path)
	if err != nil {
		return err
	}
	target := filepath.Join(m.out, rel)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return m.file(ctx, f, path, target)
}

// file rewrites one file. Where it goes to a file, that is there when all of it is.
func (m *masking) file(ctx context.Context, f *os.File, path, target string) error {
	format, r, err := sniff(f, path, m.format)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if r == nil {
		return fmt.Errorf("%s: is no text; --format says how to read it", path)
	}
	if err := distinct(f, target); err != nil {
		return err
	}
	counts := map[string]int{}
	s := document.Settings{Format: format, Scanner: m.scanner, Subject: m.policy.Subject, Lines: m.lines}
	if err := m.fill(ctx, f, s); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	write := func(w io.Writer) error {
		err := document.Rewrite(ctx, r, w, s, func(p document.Part) ([]byte, error) { return m.part(ctx, format, p, counts) })
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	if target == "" {
		err = write(os.Stdout)
	} else {
		err = writeWhole(target, write)
	}
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		for name, n := range counts {
			m.counts[name] += n
		}
	}
	return err
}

// fill has the vault keep what it is to keep of a file, many values at once, before
// they are asked for one by one.
func (m *masking) fill(ctx context.Context, f *os.File, s document.Settings) error {
	info, err := f.Stat()
	if _, vault := m.policy.Needs(); !vault || m.restore || err != nil || !info.Mode().IsRegular() {
		return err
	}
	var values []mask.Value
	err = document.Read(ctx, io.NewSectionReader(f, 0, info.Size()), s, func(p document.Part) error {
		if isHeader(s.Format, p) {
			return nil
		}
		v := mask.Value{Text: string(p.Text), Subject: p.Subject, Number: p.Number}
		if values = append(values, m.engine.Vaulted(p.Column, v, p.Found)...); len(values) < vaultBatch {
			return nil
		}
		err := m.engine.Keep(ctx, values)
		values = values[:0]
		return err
	})
	if err != nil {
		return err
	}
	return m.engine.Keep(ctx, values)
}

// vaultBatch bounds the values that wait for the vault.
const vaultBatch = 5000

// distinct refuses to write over what is read.
func distinct(f *os.File, target string) error {
	if target == "" {
		return nil
	}
	there, err := os.Stat(target)
	if err != nil {
		return nil // it is not there
	}
	if here, err := f.Stat(); err == nil && os.SameFile(here, there) {
		return fmt.Errorf("--out %s: is the file that is read: name another one", target)
	}
	return nil
}

// part is what is to stand for a part of a document.
func (m *masking) part(ctx context.Context, format document.Format, p document.Part, counts map[string]int) ([]byte, error) {
	if isHeader(format, p) {
		return p.Text, nil
	}
	var out []byte
	var err error
	switch v := (mask.Value{Text: string(p.Text), Subject: p.Subject, Number: p.Number}); {
	case m.engine.Column(p.Column):
		out, err = m.field(ctx, p, v, counts)
	case m.restore:
		out, err = m.restoreText(ctx, p, counts)
	case p.Number:
		out, err = m.engine.Number(ctx, p.Text, p.Found, p.Subject)
		m.count(counts, p.Found[:min(len(p.Found), 1)])
	default:
		out, err = m.engine.Text(ctx, p.Text, p.Found, p.Subject)
		m.count(counts, p.Found)
	}
	if err != nil && p.Name != "" {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return out, err
}

// isHeader tells the names of columns, which stay.
func isHeader(format document.Format, p document.Part) bool {
	return p.Column == "" && (format.Name == document.CSV.Name || format.Name == document.TSV.Name)
}

func (m *masking) count(counts map[string]int, found []pii.Finding) {
	for _, f := range found {
		counts[f.Type]++
	}
}

// field masks or restores the value of a column that has a rule. Of a number that
// was masked as a whole only its token tells that it was one.
func (m *masking) field(ctx context.Context, p document.Part, v mask.Value, counts map[string]int) ([]byte, error) {
	if !m.restore {
		counts[p.Column]++
		out, err := m.engine.Field(ctx, p.Column, v)
		return []byte(out), err
	}
	if bytes.HasPrefix(p.Text, []byte("[")) {
		others := counts[foreign]
		if out, err := m.restoreText(ctx, p, counts); err != nil || !bytes.Equal(out, p.Text) || counts[foreign] > others {
			return out, err
		}
	}
	out, err := m.engine.RestoreField(ctx, p.Column, v)
	if errors.Is(err, mask.ErrOneWay) {
		counts[oneWay]++
		return p.Text, nil
	}
	counts[restored]++
	return []byte(out), err
}

func (m *masking) restoreText(ctx context.Context, p document.Part, counts map[string]int) ([]byte, error) {
	out, n, err := m.engine.Restore(ctx, p.Text)
	counts[restored] += n.Done
	counts[foreign] += n.Foreign
	if n.Number && p.Bare != nil {
		*p.Bare = true
	}
	return out, err
}

// tell says on stderr what was done.
func (m *masking) tell() {
	if m.quiet {
		return
	}
	if m.restore {
		fmt.Fprintf(os.Stderr, "%d values restored\n", m.counts[restored])
		if n := m.counts[oneWay]; n > 0 {
			fmt.Fprintf(os.Stderr, "%d values stay as they are: their columns' methods cannot be undone\n", n)
		}
		return
	}
	n := 0
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m.counts)) {
		n += m.counts[name]
		parts = append(parts, fmt.Sprintf("%d %s", m.counts[name], printable(name)))
	}
	if n == 0 {
		fmt.Fprintln(os.Stderr, "nothing to mask was found")
		return
	}
	fmt.Fprintf(os.Stderr, "%d values masked: %s\n", n, strings.Join(parts, ", "))
}

// myself is the name of the account here.
func myself() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}
