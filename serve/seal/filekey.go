package seal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

var fileKeys = &Provider{
	Scheme: "file",
	Doc:    "a keyset of Tink in a file that only its owner may read",
	Form:   "file:PATH",
	shelf:  func(u *uri) (shelf, error) { return fileShelf(u.path(u.rest)), nil },
}

// fileShelf is the path of a file.
type fileShelf string

func (f fileShelf) load() ([]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read %s: run chmod 600 on it, and think of it as known to them", f)
	}
	return io.ReadAll(io.LimitReader(file, maxKeyset))
}

// alone locks the folder, for the file is replaced.
func (f fileShelf) alone() (io.Closer, error) {
	dir := filepath.Dir(string(f))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := lock(d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (f fileShelf) save(text []byte) error {
	return writeBeside(string(f), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}
