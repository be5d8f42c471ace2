package table

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Limits on what is read.
const (
	MaxRow     = 1 << 20 // bytes of a row
	MaxColumns = 4096
)

// Reader gives the rows of a table.
type Reader struct {
	names []string
	comma byte
	next  func() ([][]byte, error)
	close func() error
	read  func() (int64, int64)
}

// Format is a way to store a table.
type Format struct {
	Ext   string // with its dot
	open  func(*os.File) (*Reader, error)
	write func(w io.Writer, names []string, comma byte) (rowWriter, error)
}

// Formats lists those that are read and written.
var Formats = []Format{
	{".csv", openCSV, writeCSV},
	{".tsv", openTSV, writeCSV},
	{".parquet", openParquet, writeParquet},
}

func formatOf(path string) (Format, error) {
	for _, f := range Formats {
		if strings.EqualFold(filepath.Ext(path), f.Ext) {
			return f, nil
		}
	}
	return Format{}, fmt.Errorf("%s: no table format ends in %q: give .csv, .tsv or .parquet", path, filepath.Ext(path))
}

// Open begins to read a table: .csv and .tsv with a line of names, fields apart by
// comma, semicolon, tab or bar, whichever the names are; or .parquet.
func Open(path string) (*Reader, error) {
	format, err := formatOf(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	r, err := format.open(f)
	if err == nil {
		err = checkNames(r.names)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	next := r.next
	r.next = func() ([][]byte, error) {
		row, err := next()
		if err != nil && !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read %s: %w", path, err)
		}
		return row, err
	}
	return r, nil
}

func checkNames(names []string) error {
	if len(names) > MaxColumns {
		return fmt.Errorf("it has %d columns, more than %d", len(names), MaxColumns)
	}
	seen := map[string]bool{}
	for i, n := range names {
		switch {
		case n == "":
			return fmt.Errorf("column %d has no name: give each column one in the first line", i+1)
		case !utf8.ValidString(n):
			return fmt.Errorf("the name of column %d is not UTF-8: save the table as UTF-8", i+1)
		case seen[n]:
			return fmt.Errorf("two columns are called %q: rename one", n)
		}
		seen[n] = true
	}
	return nil
}

// Names are those of the columns.
func (r *Reader) Names() []string { return r.names }

// Comma is the byte between fields of a CSV table, and what to write one with.
func (r *Reader) Comma() byte { return r.comma }

// Next is the next row, its fields in the order of the names, valid until the call
// after; io.EOF when there is none.
func (r *Reader) Next() ([][]byte, error) { return r.next() }

// Read is how much was read of how much there is, in bytes or rows.
func (r *Reader) Read() (done, all int64) { return r.read() }

// Close ends reading.
func (r *Reader) Close() error { return r.close() }

// rowWriter writes rows and, in the end, what is left.
type rowWriter interface {
	write(row []string) error
	close() error
}

// Writer writes a table.
type Writer struct {
	to  rowWriter
	buf *bufio.Writer
}

// NewWriter begins a table in the format that the ending of name tells; comma is
// that of a CSV table, 0 for the usual one.
func NewWriter(w io.Writer, name string, names []string, comma byte) (*Writer, error) {
	format, err := formatOf(name)
	if err != nil {
		return nil, err
	}
	if comma == 0 {
		comma = ','
	}
	if format.Ext == ".tsv" {
		comma = '\t'
	}
	b := bufio.NewWriterSize(w, 1<<16)
	to, err := format.write(b, names, comma)
	if err != nil {
		return nil, err
	}
	return &Writer{to: to, buf: b}, nil
}

// Write adds a row.
func (w *Writer) Write(row []string) error { return w.to.write(row) }

// Close ends the table; the file underneath stays open.
func (w *Writer) Close() error { return errors.Join(w.to.close(), w.buf.Flush()) }
