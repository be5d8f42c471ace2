package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/privacy/pii/document"
	"github.com/redoubt-ml/redoubt/privacy/pii/names"
)

// piiScanFlags say what is read and how findings are printed.
type piiScanFlags struct {
	piiFlags
	json, explain, show, fail, list bool
	format                          string
	jobs                            int
}

func newPIIScan(a *app) *cobra.Command {
	var f piiScanFlags
	cmd := &cobra.Command{
		Use: "scan PATH...", Short: "Find personal data and secrets in files, folders or stdin", Args: cobra.ArbitraryArgs,
		Long: `Find personal data and secrets in files, folders or stdin (-).

Read are text, JSON, JSON Lines, CSV, TSV, Parquet, mail, HTML and PDF, and gzip and
zip around them; the format is told by content and name. Files that are none of these
and not text are named on stderr and skipped.

Printed is a line for each finding, with the text partly hidden. With --json it is a
JSON object: file, start and end in Unicode code points, type and score; in documents
of parts, part names the path, cell or header, and the offsets count within it.

The exit code is 0 when everything was read, whatever was found; with --fail it is 1
when something was. It is 2 for a usage error or a file that cannot be read, and 3
when some of several files could not be.`,
		Example: `  redoubt pii scan mails/ --json
  redoubt pii scan export.csv --types CREDIT_CARD,IBAN_CODE --fail
  gunzip -c app.log.gz | redoubt pii scan - --json --quiet
  redoubt pii scan notes.txt --threshold 0.7 --threshold PHONE_NUMBER=0.9 --explain`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), a, args) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "a JSON object a finding")
	flags.BoolVar(&f.explain, "explain", false, "say what found it and what spoke for it")
	flags.BoolVar(&f.show, "show", false, "print what was found as it stands")
	flags.BoolVar(&f.fail, "fail", false, "exit with 1 when something is found")
	flags.BoolVar(&f.list, "list", false, "print the types that are looked for, and how they are told, instead")
	flags.StringVar(&f.format, "format", "", "text, json, jsonl, csv, tsv, parquet, mail, html, pdf, gzip or zip (default: told by content and name)")
	flags.IntVar(&f.jobs, "jobs", 0, "files to read at once (default: one a core)")
	return cmd
}

func (f *piiScanFlags) run(ctx context.Context, a *app, paths []string) error {
	calmCollector() // what is read is garbage soon
	settings, err := f.settings(a.ort)
	if err != nil {
		return err
	}
	if f.list {
		for _, r := range settings.Recognizers {
			fmt.Printf("%-28s %-24s %s\n", r.Type, r.Name, r.Doc)
		}
		if settings.Tagger != nil {
			for _, typ := range names.Types() {
				fmt.Printf("%-28s %-24s %s\n", typ, names.Recognizer, "in running text, by weights that were learnt; docs/pii-names.md")
			}
		}
		return nil
	}
	if f.jobs < 0 || f.jobs > 1024 {
		return fmt.Errorf("--jobs %d: must be between 1 and 1024", f.jobs)
	}
	if f.format != "" {
		if _, err := document.Named(f.format); err != nil {
			return fmt.Errorf("--format: %w", err)
		}
	}
	files, err := piiFiles(paths)
	if err != nil {
		return err
	}
	settings.Explain = f.explain
	scanner, err := pii.New(settings)
	if err != nil {
		return err
	}
	s := &piiScan{piiScanFlags: f, scanner: scanner, files: files, stderr: newProgress(a.quiet), quiet: a.quiet}
	return s.all(ctx)
}

// A piiScan is files on their way through several workers. Their findings come out in
// the order of the files.
type piiScan struct {
	*piiScanFlags
	scanner       *pii.Scanner
	files         []string
	stderr        *progress
	quiet         bool
	found, failed atomic.Int64
}

func (s *piiScan) all(ctx context.Context) error {
	defer s.stderr.clear()
	jobs := s.jobs
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	turns := make([]chan struct{}, len(s.files)+1)
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	close(turns[0])
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range min(jobs, len(s.files)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(s.files) {
					return
				}
				out := &piiOutput{ctx: ctx, turn: turns[i]}
				if err := s.file(ctx, s.files[i], out); err != nil {
					stop(err)
				}
				close(turns[i+1])
				if len(s.files) > 1 {
					s.stderr.report("scan", int(done.Add(1)), len(s.files))
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return s.verdict()
}

func (s *piiScan) verdict() error {
	switch {
	case s.fail && s.found.Load() > 0:
		return errors.Join(errSilent, redoubt.ErrGate)
	case s.failed.Load() > 0:
		return fmt.Errorf("%d of %d files could not be read whole: %w", s.failed.Load(), len(s.files), redoubt.ErrUndecided)
	}
	return nil
}

// A piiOutput holds back what a file has to say until the files before it have said
// theirs, and no more than a megabyte of it.
type piiOutput struct {
	ctx  context.Context
	turn <-chan struct{}
	buf  bytes.Buffer
}

func (o *piiOutput) flush() error {
	select {
	case <-o.turn:
	case <-o.ctx.Done():
		return context.Cause(o.ctx)
	}
	_, err := os.Stdout.Write(o.buf.Bytes())
	o.buf.Reset()
	return err
}

// file reads one. An error that is only this file's is told and counted, unless it is
// the only one.
func (s *piiScan) file(ctx context.Context, path string, out *piiOutput) error {
	err := s.read(ctx, path, out)
	if flushed := out.flush(); flushed != nil {
		return flushed
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	if len(s.files) == 1 {
		return fmt.Errorf("%s: %w", path, err)
	}
	s.failed.Add(1)
	s.stderr.clear()
	fmt.Fprintf(os.Stderr, "redoubt: %s: %s\n", path, strings.Join(strings.Fields(err.Error()), " "))
	return nil
}

// note tells what was passed over.
func (s *piiScan) note(what string) {
	if !s.quiet {
		s.stderr.clear()
		fmt.Fprintln(os.Stderr, "redoubt: "+printable(what))
	}
}

func (s *piiScan) read(ctx context.Context, path string, out *piiOutput) error {
	r, format, err := s.open(path)
	if err != nil || r == nil {
		return err
	}
	defer r.Close()
	p := piiPrinter{piiScanFlags: s.piiScanFlags, file: path}
	settings := document.Settings{Format: format, Name: path, Scanner: s.scanner, Lines: s.lines, Skipped: func(name string) { s.note(path + "!" + name + ": skipped, it is no text") }}
	return document.Read(ctx, r, settings, func(part document.Part) error {
		s.found.Add(int64(len(part.Found)))
		if err := p.part(&out.buf, part); err != nil {
			return err
		}
		if path == "-" || out.buf.Len() > 1<<20 {
			return out.flush()
		}
		return nil
	})
}

// open tells the format of a file. The reader is nil for one that is to be skipped.
func (s *piiScan) open(path string) (io.ReadCloser, document.Format, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, document.Format{}, err
		}
	}
	format, r, err := sniff(f, path, s.format)
	if err != nil || r == nil {
		f.Close()
		if err == nil {
			s.note(path + ": skipped, it is no text; --format says how to read it")
		}
		return nil, format, err
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, format, nil
}

// sniff tells the format of a file by its first bytes and its name. Files are handed
// on as they are, because archives are read from their end.
func sniff(f *os.File, path, named string) (document.Format, io.Reader, error) {
	var r io.Reader = f
	var head []byte
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		head = make([]byte, 4096)
		n, err := f.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return document.Format{}, nil, err
		}
		head = head[:n]
	} else {
		b := bufio.NewReaderSize(f, 64<<10)
		if _, err := b.Peek(1); err != nil && err != io.EOF {
			return document.Format{}, nil, err
		}
		head, _ = b.Peek(min(4096, b.Buffered())) // what is there: a log may be slow
		r = b
	}
	if named != "" {
		format, err := document.Named(named)
		return format, r, err
	}
	format := document.Detect(path, head)
	if format.Name == document.Text.Name && !document.IsText(head) {
		return format, nil, nil
	}
	return format, r, nil
}

// A piiPrinter prints the findings of one file.
type piiPrinter struct {
	*piiScanFlags
	file string
	// Where the piece of a text begins, in code points.
	lines, col, points int
	line               []byte // of JSON, worth keeping for the next one
}

func (p *piiPrinter) part(out *bytes.Buffer, part document.Part) error {
	if part.Offset == 0 {
		p.lines, p.col, p.points = 1, 1, 0
	}
	line, col, points, at := p.lines, p.col, p.points, 0
	move := func(to int) {
		b := part.Text[at:to]
		at = to
		points += utf8.RuneCount(b)
		if n := bytes.Count(b, []byte{'\n'}); n > 0 {
			line, col, b = line+n, 1, b[bytes.LastIndexByte(b, '\n')+1:]
		}
		col += utf8.RuneCount(b)
	}
	for _, f := range part.Found {
		move(f.Start)
		start, l, c := points, line, col
		move(f.End)
		text := part.Text[f.Start:f.End]
		if p.json {
			if err := p.object(out, part.Name, f, start, points, text); err != nil {
				return err
			}
			continue
		}
		p.row(out, part.Name, f, l, c, text)
	}
	move(len(part.Text))
	p.lines, p.col, p.points = line, col, points
	return nil
}

// object writes a line of --json: by hand, for dense files have millions of them.
func (p *piiPrinter) object(out *bytes.Buffer, part string, f pii.Finding, start, end int, text []byte) error {
	b := append(p.line[:0], `{"file":`...)
	b = appendJSON(b, p.file)
	b = strconv.AppendInt(append(b, `,"start":`...), int64(start), 10)
	b = strconv.AppendInt(append(b, `,"end":`...), int64(end), 10)
	b = appendJSON(append(b, `,"type":`...), f.Type)
	b = strconv.AppendFloat(append(b, `,"score":`...), math.Round(f.Score*1000)/1000, 'f', -1, 64)
	for _, field := range []struct {
		name, value string
		wanted      bool
	}{{`,"part":`, part, part != ""}, {`,"text":`, string(text), p.show}, {`,"recognizer":`, f.Recognizer, p.explain}, {`,"why":`, f.Why, p.explain}} {
		if field.wanted {
			b = appendJSON(append(b, field.name...), field.value)
		}
	}
	p.line = append(b, "}\n"...)
	_, err := out.Write(p.line)
	return err
}

// appendJSON writes a string. Most need no escape.
func appendJSON(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] < utf8.RuneSelf && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	quoted, _ := json.Marshal(s) // a string always can be
	return append(b, quoted...)
}

func (p *piiPrinter) row(out *bytes.Buffer, part string, f pii.Finding, line, col int, text []byte) {
	where := fmt.Sprintf("%s:%d:%d", p.file, line, col)
	if part != "" {
		where = p.file + ": " + printable(part)
	}
	shown := oneLine(text)
	if !p.show {
		shown = hidden(text)
	}
	fmt.Fprintf(out, "%s: %s %.2f %s", where, f.Type, f.Score, shown)
	if p.explain {
		fmt.Fprintf(out, " (%s: %s)", f.Recognizer, printable(f.Why))
	}
	out.WriteByte('\n')
}

// oneLine is a text on one line.
func oneLine(text []byte) string { return printable(strings.Join(strings.Fields(string(text)), " ")) }

// hidden shows the first and the last sign of a text, and of a long one two.
func hidden(text []byte) string {
	r := []rune(oneLine(text))
	keep := 1
	switch {
	case len(r) < 4:
		keep = 0
	case len(r) >= 12:
		keep = 2
	}
	for i := keep; i < len(r)-keep; i++ {
		r[i] = '*'
	}
	if len(r) > 40 {
		r = slices.Concat(r[:20], []rune("..."), r[len(r)-17:])
	}
	return string(r)
}
