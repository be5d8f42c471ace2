// Package document takes documents apart into the texts that people wrote in
// them, and puts them together again with some of those texts replaced.
//
//	s, _ := pii.New(pii.Settings{})
//	err := document.Read(ctx, file, document.Settings{Format: document.CSV, Scanner: s}, func(p document.Part) error {
//		for _, f := range p.Found {
//			fmt.Println(p.Name, f.Type) // row 3, column email EMAIL_ADDRESS
//		}
//		return nil
//	})
//
// [Rewrite] does the same with a function that returns the text to stand there
// instead. What it leaves alone stays as it was, byte for byte where the format
// allows: in JSON only the literals that change are written anew, in CSV only
// the fields.
//
// The name of a part (a JSON path, a column, a header) is context for the
// scanner: a bare number in a column called ssn is told by it.
//
// Promises. Documents are streamed: memory is bounded by the largest single
// string, message or page, and each of those by [Limits]. What cannot be read is
// an error that says where, with the line and column in JSON and CSV; nothing is
// passed over silently. The reader is never trusted about sizes.
//
// Not promised: text in pictures, in PDF files that are encrypted or whose fonts
// do not tell which letters their glyphs are, and in office documents beyond
// what their zip members say as XML.
package document

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/privacy/pii"
)

// A Part is one text of a document.
type Part struct {
	// Name says where it stands: "$.users[3].email", "row 3, column email",
	// "Subject". Empty for plain text.
	Name string
	// Column is the column of a table, by its number from 1 where it has no name,
	// or the name of the member of JSON that the text is the value of, or within
	// the array of. Empty in other formats and of what names something itself.
	Column string
	// Subject is what the row has in the column that Settings names.
	Subject string
	// Text is the text as people read it: unescaped, decoded, in UTF-8; of plain
	// text and CSV in another character set it is Windows' code page 1252 in UTF-8. It is valid until the function returns.
	Text []byte
	// Offset is how many bytes of a text that is handed over in several pieces
	// came before this piece; 0 in other formats.
	Offset int64
	// Found is what the scanner found in Text. Nil without a scanner.
	Found []pii.Finding
	// Number says that it is a number of JSON.
	Number bool
	// Bare, where it is not nil, may be set to true by a function that returns a
	// number for a string of JSON: it is then written without quotes.
	Bare *bool
}

// A Scanner finds personal data: a *pii.Scanner.
type Scanner interface {
	// ScanNamed finds in a text what its name helps to tell.
	ScanNamed(ctx context.Context, name string, text []byte) ([]pii.Finding, error)
	// Pieces cuts a text where no finding is.
	Pieces(ctx context.Context, r io.Reader, do func(text []byte, found []pii.Finding) error) error
}

// Settings say how a document is read. Its zero value reads plain text.
type Settings struct {
	Format Format
	// Name is that of the file, by which the format of what is compressed in it is told.
	Name string
	// Scanner, if set, looks through every part. Without it parts come with no
	// findings, and plain text is cut at ends of lines.
	Scanner Scanner
	// Lines has plain text looked at line by line, each as soon as it is there, as a
	// log that is being watched wants it. What goes on over the end of a line is then
	// not found, nor what the line before says of it.
	Lines bool
	// Subject is the column that names the person whose row it is: of CSV and
	// Parquet. Every part of the row comes with it.
	Subject string
	// Skipped, if set, is told the names of archive members and attachments that are no
	// text, such as pictures.
	Skipped func(name string)
	Limits  Limits
}

// Limits bound what a document may take. A field left at zero has the default
// that its comment names.
type Limits struct {
	// String is the largest single value, header or page of text in bytes: 16 MiB.
	String int
	// Message is the largest e-mail or PDF file, which are read whole: 256 MiB.
	Message int64
	// Depth is how deep archives and messages may nest: 8. JSON may nest 1,000
	// deep.
	Depth int
	// Members is how many members one archive or message may have: 100,000.
	Members int
	// Unpacked is how many bytes all that is compressed in one document may
	// unpack to: 64 GiB.
	Unpacked int64
	// Ratio is by how much compressed content may grow once it is over 16 MiB:
	// 200.
	Ratio int64
}

func (l Limits) filled() Limits {
	return Limits{
		String: cmp.Or(l.String, 16<<20), Message: cmp.Or(l.Message, 256<<20), Depth: cmp.Or(l.Depth, 8),
		Members: cmp.Or(l.Members, 100_000), Unpacked: cmp.Or(l.Unpacked, 64<<30), Ratio: cmp.Or(l.Ratio, 200),
	}
}

// ErrLimit is wrapped by errors that say that a document is over a limit.
var ErrLimit = errors.New("over the limit")

// ErrReadOnly is wrapped by the error of Rewrite for a format that can be read
// and not be written.
var ErrReadOnly = errors.New("can be read, and not be rewritten")

// A Format is a kind of document. The zero value is plain text.
type Format struct {
	// Name is what a person calls it, such as "json".
	Name string
	// Extensions are the endings of its files, with their dots.
	Extensions []string

	magic func(head []byte) bool
	walk  func(*job, io.Reader) error
	// writes says that walk puts the document together again.
	writes bool
}

// Detect tells the format by a file's name and its first bytes; 4,096 are enough.
// What nothing claims is plain text.
func Detect(name string, head []byte) Format { return among(Formats, name, head) }

func among(formats []Format, name string, head []byte) Format {
	for _, f := range formats {
		if f.magic != nil && f.magic(head) {
			return f
		}
	}
	ending := strings.ToLower(path.Ext(name))
	for _, f := range formats {
		if slices.Contains(f.Extensions, ending) {
			return f
		}
	}
	return Text
}

// Named is the format of a name.
func Named(name string) (Format, error) {
	var names []string
	for _, f := range Formats {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Format{}, fmt.Errorf("format %q: must be one of %s", name, strings.Join(names, ", "))
}

// Read calls each for every text of a document, in the document's order.
func Read(ctx context.Context, r io.Reader, s Settings, each func(Part) error) error {
	j := newJob(ctx, s, func(p Part) ([]byte, error) { return p.Text, each(p) })
	return j.run(s.Format, r)
}

// Rewrite copies a document from r to w with the texts that replace returns in
// the place of those it is given. A number of JSON or of a typed column becomes
// a string where the new text is no number. The error wraps [ErrReadOnly] where
// the format cannot be written; when there is an error, what w has is of no use.
func Rewrite(ctx context.Context, r io.Reader, w io.Writer, s Settings, replace func(Part) ([]byte, error)) error {
	if !s.Format.writes && s.Format.walk != nil {
		return fmt.Errorf("%s: %w", s.Format.Name, ErrReadOnly)
	}
	j := newJob(ctx, s, replace)
	j.w = w
	return j.run(s.Format, r)
}

// A job is one document on its way through.
type job struct {
	ctx     context.Context
	scanner Scanner
	limits  Limits
	each    func(Part) ([]byte, error)
	name    string
	skipped func(name string)
	// formats are Formats: those among them that hold others cannot name the list.
	formats []Format
	// subjectColumn is Settings.Subject.
	subjectColumn string
	byLine        bool      // Settings.Lines
	w             io.Writer // nil when the document is only read
	// prefix begins the name of every part: "member.csv!".
	prefix string
	depth  int
	// unpacked is shared by the jobs of nested documents.
	unpacked *int64
}

func newJob(ctx context.Context, s Settings, each func(Part) ([]byte, error)) *job {
	return &job{ctx: ctx, scanner: s.Scanner, limits: s.Limits.filled(), each: each, subjectColumn: s.Subject, byLine: s.Lines, name: s.Name, skipped: s.Skipped, formats: Formats, unpacked: new(int64)}
}

func (j *job) run(f Format, r io.Reader) error {
	if f.walk == nil {
		f = Text
	}
	return f.walk(j, r)
}

// inside is the job of a document within the document.
func (j *job) inside(name string) (*job, error) {
	in := *j
	in.depth++
	in.prefix = j.prefix + name + "!"
	in.w = nil
	if in.depth > j.limits.Depth {
		return nil, fmt.Errorf("%s%s: nested more than %d deep: %w", j.prefix, name, j.limits.Depth, ErrLimit)
	}
	return &in, nil
}

// part hands over one text and returns what is to stand there.
func (j *job) part(p Part) ([]byte, error) {
	if err := j.ctx.Err(); err != nil {
		return nil, err
	}
	p.Name = j.prefix + p.Name
	if j.scanner != nil {
		var err error
		if p.Found, err = j.scanner.ScanNamed(j.ctx, p.Name, p.Text); err != nil {
			return nil, err
		}
	}
	return j.each(p)
}

// stream hands over a text of any length in pieces.
func (j *job) stream(name string, r io.Reader) error {
	var offset int64
	do := func(text []byte, found []pii.Finding) error {
		if err := j.ctx.Err(); err != nil {
			return err
		}
		out, err := j.each(Part{Name: strings.TrimSuffix(j.prefix+name, "!"), Text: text, Offset: offset, Found: found})
		if err == nil && j.w != nil {
			_, err = j.w.Write(out)
		}
		offset += int64(len(text))
		return err
	}
	switch {
	case j.scanner == nil:
		return lines(r, do)
	case j.byLine:
		return j.eachLine(r, do)
	}
	return j.scanner.Pieces(j.ctx, r, do)
}

// longestLine is where a line is cut, finding or not.
const longestLine = 64 << 10

// eachLine looks at a line when its end is there.
func (j *job) eachLine(r io.Reader, do func([]byte, []pii.Finding) error) error {
	b := bufio.NewReaderSize(r, longestLine)
	for {
		line, err := b.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return err
		}
		if len(line) > 0 {
			found, failed := j.scanner.ScanNamed(j.ctx, "", line)
			if failed != nil {
				return failed
			}
			if failed := do(line, found); failed != nil {
				return failed
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// lines cuts a text into pieces that end with a line where they can.
func lines(r io.Reader, do func([]byte, []pii.Finding) error) error {
	buf := make([]byte, 64<<10)
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return err
		}
		text := buf[:kept+n]
		cut := len(text)
		if i := bytes.LastIndexByte(text, '\n'); !last && i >= 0 {
			cut = i + 1
		}
		if cut > 0 {
			if err := do(text[:cut], nil); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		kept = copy(buf, text[cut:])
	}
}
