// Package scan says whether opening a model file can run code.
//
//	report, err := scan.Path(ctx, "models/", scan.Config{})
//	for _, f := range report.Files {
//		fmt.Println(f.Path, f.Format, f.Verdict)
//	}
//
// There are three verdicts. A file is [Safe] only when every construct in it
// was understood and stands on a list of exact names and call shapes (folder
// allow, one file a framework). It is [Unsafe] when it reaches something that
// is forbidden. Everything else is [Unproven], and so is always what could not
// be read whole: cut short, encrypted, over a limit, of an unknown format. A
// list of bad names can always be gone around; so names nobody has vouched for
// are never safe.
//
// The content decides what a file is, its name is no more than a hint. Each
// format of [Formats] that could load the bytes looks at them, so that a file
// which is two things at once is judged as both. Archives are opened and their
// members scanned under names such as "model.pt!model/data.pkl".
//
// What is plainly data (text, JSON, images) is recognised strictly and safe.
// Text is looked through for what makes its readers run code: YAML tags of
// Python, Hydra targets, entities of XML. A program, such as a .py file that
// lies beside a model, is unproven: whoever loads the model with trust in its
// remote code runs it.
//
// Promises. Nothing is loaded or executed, and no network is used. Memory does
// not grow with the size of tensors: they are skipped or streamed. Every
// [Limits] is checked before memory is taken. Links that lead out of a scanned
// folder are not followed. The same bytes get the same verdict.
//
// Not promised: that a safe model behaves well. What its numbers compute is for
// the other wings to find out. Nor that the reader has no memory bug that a
// well-formed file triggers.
package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// Verdict says whether loading a file is free of side effects.
type Verdict string

// The verdicts, from best to worst.
const (
	Safe     Verdict = "safe"     // every construct is on the allow-list
	Unproven Verdict = "unproven" // something was not understood or not read
	Unsafe   Verdict = "unsafe"   // something forbidden is reached
)

// worse is the worse of two verdicts. Unproven outweighs safe, unsafe both.
func worse(a, b Verdict) Verdict {
	order := []Verdict{"", Safe, Unproven, Unsafe}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// Report is the document "redoubt.scan/v1".
type Report struct {
	Schema string `json:"schema"`
	// Files holds an entry for each file and archive member, a container
	// before its members.
	Files []*File `json:"files"`
}

// Verdict is the worst of the files' verdicts. A report without files is
// Unproven: nothing was looked at.
func (r *Report) Verdict() Verdict {
	var v Verdict
	for _, f := range r.Files {
		v = worse(v, f.Verdict)
	}
	if v == "" {
		return Unproven
	}
	return v
}

// File is what was found in one file or archive member.
type File struct {
	// Path is the file's path; members of archives follow after "!".
	Path string `json:"path"`
	// Format is the name of the first format that recognised the content,
	// "unknown" when none did.
	Format  string  `json:"format"`
	Verdict Verdict `json:"verdict"`
	Size    int64   `json:"size"`
	// SHA256 is that of a file, where Config.Digest asks for it; members have
	// none.
	SHA256 redoubt.Digest `json:"sha256,omitempty"`
	// Findings are ordered by offset. At most 100 are kept; Omitted counts
	// the others, which count for the verdict all the same.
	Findings []Finding `json:"findings"`
	Omitted  int       `json:"omitted,omitempty"`

	// Imports and Calls are what the pickles in the file would import and
	// call, in order and without repetition, as "module:name".
	Imports []string `json:"imports,omitempty"`
	Calls   []string `json:"calls,omitempty"`

	depth int
}

// Finding is one reason against a file.
type Finding struct {
	// Rule is a stable identifier such as "pickle/forbidden".
	Rule     string           `json:"rule"`
	Severity redoubt.Severity `json:"severity"`
	// Offset is the byte within the file or member where it stands.
	Offset  int64  `json:"offset"`
	Message string `json:"message"`
	// Remedy is what to do about it.
	Remedy string `json:"remedy"`
	// Trace is the instructions that led there, the last one last, each as
	// "offset NAME".
	Trace []string `json:"trace,omitempty"`
}

// maxFindings bounds what one file can write into a report.
const maxFindings = 100

// add records a finding and worsens the file's verdict by it.
func (f *File) add(v Verdict, severity redoubt.Severity, rule string, offset int64, format string, args ...any) *Finding {
	f.Verdict = worse(f.Verdict, v)
	message := clean(fmt.Sprintf(format, args...))
	for i := range f.Findings {
		if f.Findings[i].Rule == rule && f.Findings[i].Message == message {
			return &Finding{} // said already, at an earlier place
		}
	}
	if len(f.Findings) >= maxFindings {
		f.Omitted++
		return &Finding{}
	}
	f.Findings = append(f.Findings, Finding{Rule: rule, Severity: severity, Offset: offset, Message: message, Remedy: remedy(rule)})
	return &f.Findings[len(f.Findings)-1]
}

// unread records that something could not be read to its end, so that the file
// can never be safe.
func (f *File) unread(rule string, offset int64, err error) {
	severity := redoubt.Medium
	if errors.Is(err, errLimit) {
		rule, severity = "limit", redoubt.High
	}
	f.add(Unproven, severity, rule, offset, "%v", err)
}

// Limits bounds what a scan takes. A field left at zero has the default that
// its comment names.
type Limits struct {
	// Depth is how deep archives and pickles may nest: 8.
	Depth int
	// Members is how many members one archive may have: 200,000.
	Members int
	// Unpacked is how many bytes all compressed content of one file on disk
	// may unpack to: 64 GiB.
	Unpacked int64
	// Ratio is by how much a compressed stream may grow once it is over
	// 16 MiB: 200.
	Ratio int64
	// Opcodes is how many instructions one pickle may have: 100 million.
	Opcodes int64
	// Memo is how many entries a pickle's memo may have: 4 million.
	Memo int
	// Text is the largest JSON or configuration that is parsed: 64 MiB.
	Text int64
	// Time is how long one file on disk may take: 10 minutes.
	Time time.Duration
}

func (l Limits) filled() Limits {
	return Limits{
		Depth: cmp.Or(l.Depth, 8), Members: cmp.Or(l.Members, 200_000),
		Unpacked: cmp.Or(l.Unpacked, 64<<30), Ratio: cmp.Or(l.Ratio, 200),
		Opcodes: cmp.Or(l.Opcodes, 100_000_000), Memo: cmp.Or(l.Memo, 4_000_000),
		Text: cmp.Or(l.Text, 64<<20), Time: cmp.Or(l.Time, 10*time.Minute),
	}
}

// errLimit is wrapped by errors that say a limit was reached.
var errLimit = errors.New("over the limit")

// Config is how to scan. Its zero value is ready for use.
type Config struct {
	Limits Limits
	// Digest asks for the SHA-256 of each file, so that a verdict can be tied
	// to the bytes that it is about. It takes longer than most scans.
	Digest bool
	// Progress, if set, is called before each file on disk, by one goroutine
	// at a time.
	Progress func(path string, done, total int)
}

// Path scans a file, or every file beneath a folder in the order of names. The
// error is about the way there (no such path, no leave to read a folder) or the
// context's; what is wrong with a file is in its findings.
func Path(ctx context.Context, path string, cfg Config) (*Report, error) {
	s := newScanner(ctx, cfg)
	return s.report, s.path(path, cfg.Progress)
}

// Reader scans size bytes of r as if they were a file of the given name. What
// the file names beside itself (external tensors) counts as absent.
func Reader(ctx context.Context, name string, r io.ReaderAt, size int64, cfg Config) (*Report, error) {
	s := newScanner(ctx, cfg)
	err := s.file(&source{path: name, r: r, size: size})
	return s.report, err
}

func newScanner(ctx context.Context, cfg Config) *scanner {
	return &scanner{ctx: ctx, limits: cfg.Limits.filled(), formats: Formats[:], digest: cfg.Digest, claims: map[string]string{},
		report: &Report{Schema: "redoubt.scan/v1", Files: []*File{}}}
}
