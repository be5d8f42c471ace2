package document

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
)

// Gzip is one compressed document (RFC 1952), whose format its name without .gz and its
// content tell. It is rewritten where that can be.
var Gzip = Format{Name: "gzip", Extensions: []string{".gz"}, writes: true,
	magic: func(head []byte) bool { return bytes.HasPrefix(head, []byte{0x1F, 0x8B, 8}) },
	walk:  readGzip}

// Zip is an archive, whose members are documents. Office files are such archives, and
// their members are XML.
var Zip = Format{Name: "zip", Extensions: []string{".zip", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub"},
	magic: func(head []byte) bool { return bytes.HasPrefix(head, []byte("PK\x03\x04")) },
	walk:  readZip}

func readGzip(j *job, r io.Reader) error {
	in := &counter{r: r}
	z, err := gzip.NewReader(bufio.NewReader(in))
	if err != nil {
		return fmt.Errorf("%sread gzip: %w", j.prefix, err)
	}
	name, told := z.Name, z.Name
	if name == "" {
		name, told = "content", strings.TrimSuffix(j.name, ".gz")
	}
	next, err := j.inside(name)
	if err != nil {
		return err
	}
	inner := &expansion{r: z, in: in, job: j}
	b := bufio.NewReader(inner)
	f, ok, err := j.detect(told, b)
	if err != nil {
		return fmt.Errorf("%sread gzip: %w", j.prefix, err)
	}
	if !ok {
		j.skip(name)
		if j.w != nil {
			return fmt.Errorf("%s%s: no text: %w", j.prefix, name, ErrReadOnly)
		}
		return nil
	}
	if j.w == nil {
		return next.run(f, b)
	}
	if !f.writes {
		return fmt.Errorf("%s within gzip: %w", f.Name, ErrReadOnly)
	}
	w := gzip.NewWriter(j.w)
	w.Name = z.Name
	next.w = w
	if err := next.run(f, b); err != nil {
		return err
	}
	return w.Close()
}

func readZip(j *job, r io.Reader) error {
	at, size, done, err := readerAt(r, j.limits.Unpacked)
	if err != nil {
		return err
	}
	defer done()
	z, err := zip.NewReader(at, size)
	if err != nil {
		return fmt.Errorf("%sread zip: %w", j.prefix, err)
	}
	if len(z.File) > j.limits.Members {
		return fmt.Errorf("%szip of %d members: %w", j.prefix, len(z.File), ErrLimit)
	}
	for _, m := range z.File {
		if strings.HasSuffix(m.Name, "/") {
			continue
		}
		if err := j.member(m, int64(m.CompressedSize64)); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) member(m *zip.File, packed int64) error {
	if m.Flags&1 != 0 {
		return fmt.Errorf("%s%s: encrypted", j.prefix, m.Name)
	}
	r, err := m.Open()
	if err != nil {
		return fmt.Errorf("%s%s: %w", j.prefix, m.Name, err)
	}
	defer r.Close()
	if err := j.nested(m.Name, &expansion{r: r, in: &counter{n: packed}, job: j}); err != nil {
		return err
	}
	return nil
}

// nested reads a document within the document, of the format that its name and content
// tell. What is no text is skipped.
func (j *job) nested(name string, r io.Reader) error {
	in, err := j.inside(name)
	if err != nil {
		return err
	}
	in.name = name
	b := bufio.NewReader(r)
	f, ok, err := j.detect(name, b)
	if err != nil {
		return fmt.Errorf("%s%s: %w", j.prefix, name, err)
	}
	if !ok {
		j.skip(name)
		return nil
	}
	return in.run(f, b)
}

// detect tells a format by what comes next; ok is false for what is no text.
func (j *job) detect(name string, b *bufio.Reader) (f Format, ok bool, err error) {
	head, err := b.Peek(4096)
	if err != nil && err != io.EOF {
		return Format{}, false, err
	}
	f = among(j.formats, name, head)
	return f, f.Name != Text.Name || IsText(head), nil
}

func (j *job) skip(name string) {
	if j.skipped != nil {
		j.skipped(j.prefix + name)
	}
}

// A counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// An expansion is what something compressed unpacks to, within the limits.
type expansion struct {
	r   io.Reader
	in  *counter
	out int64
	job *job
}

func (e *expansion) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.out += int64(n)
	*e.job.unpacked += int64(n)
	l := e.job.limits
	if *e.job.unpacked > l.Unpacked {
		return n, fmt.Errorf("unpacks to more than %d bytes: %w", l.Unpacked, ErrLimit)
	}
	if e.out > 16<<20 && e.out/l.Ratio > e.in.n {
		return n, fmt.Errorf("grows more than %d times when unpacked: %w", l.Ratio, ErrLimit)
	}
	return n, err
}

// readerAt gives access to all of a reader: as it is where it can be read anywhere,
// from memory where it is small, and else from a temporary file.
func readerAt(r io.Reader, limit int64) (at io.ReaderAt, size int64, done func(), err error) {
	if f, ok := r.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			return f, st.Size(), func() {}, nil
		}
	}
	if b, ok := r.(*bytes.Reader); ok {
		return b, b.Size(), func() {}, nil
	}
	const small = 16 << 20
	b, err := io.ReadAll(io.LimitReader(r, small))
	if err != nil {
		return nil, 0, nil, err
	}
	if len(b) < small {
		return bytes.NewReader(b), int64(len(b)), func() {}, nil
	}
	f, err := os.CreateTemp("", "redoubt-*")
	if err != nil {
		return nil, 0, nil, err
	}
	// Its name goes at once, where the system allows: what it holds is personal.
	os.Remove(f.Name())
	done = func() { f.Close(); os.Remove(f.Name()) }
	size, err = io.Copy(f, io.LimitReader(io.MultiReader(bytes.NewReader(b), r), limit+1))
	if err == nil && size > limit {
		err = fmt.Errorf("more than %d bytes: %w", limit, ErrLimit)
	}
	if err != nil {
		done()
		return nil, 0, nil, err
	}
	return f, size, done, nil
}

// whole reads all of a document that cannot be read in parts.
func (j *job) whole(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, j.limits.Message+1))
	if err == nil && int64(len(b)) > j.limits.Message {
		err = fmt.Errorf("more than %d bytes, which have to be held at once: %w", j.limits.Message, ErrLimit)
	}
	return b, err
}
