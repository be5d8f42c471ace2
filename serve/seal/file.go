package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// SealFile seals what r gives into a file that only its owner may read. It is
// written beside and takes its name when it is whole, over a file that had it.
func (s *Sealer) SealFile(ctx context.Context, path string, r io.Reader, p Place) error {
	return writeBeside(path, func(w io.Writer) error {
		sealed, err := s.Seal(ctx, w, p)
		if err != nil {
			return err
		}
		_, err = io.Copy(sealed, reading{ctx, r})
		if err == nil {
			err = sealed.Close()
		}
		return err
	})
}

// UnsealFile writes the content of a sealed file to another, as a whole or not at
// all.
func (s *Sealer) UnsealFile(ctx context.Context, sealed, path string, p Place) error {
	f, err := s.OpenFile(ctx, sealed, p)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeBeside(path, func(w io.Writer) error {
		_, err := io.Copy(w, reading{ctx, f})
		return err
	})
}

// reading ends with its context.
type reading struct {
	ctx context.Context
	r   io.Reader
}

func (r reading) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// writeBeside writes a file that takes its name when it is whole and on the disk.
func writeBeside(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".sealing-*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// OpenFile opens a sealed file for reading. It must be closed.
func (s *Sealer) OpenFile(ctx context.Context, path string, p Place) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := s.openFile(ctx, f, p)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// openFile tries again where a rotation changed the header meanwhile: the key that
// it was under may be gone by now.
func (s *Sealer) openFile(ctx context.Context, f *os.File, p Place) (io.Reader, error) {
	for last := uint64(0); ; {
		h, err := settled(ctx, f)
		if err != nil {
			return nil, err
		}
		r, err := s.open(ctx, io.NewSectionReader(f, 2*slotSize, 1<<62), h, p)
		if err == nil || !errors.Is(err, ErrRefused) || h.generation <= last {
			return r, err
		}
		last = h.generation
	}
}

// settled reads the header of a file. One that is being rotated may be half
// written for a moment.
func settled(ctx context.Context, f *os.File) (header, error) {
	for try := 1; ; try++ {
		b, err := readHeader(f)
		if err != nil {
			return header{}, err
		}
		h, err := decode(b)
		if err == nil {
			return h, nil
		}
		if try == 5 {
			return h, fmt.Errorf("%w: %v", ErrRefused, err)
		}
		select {
		case <-time.After(time.Duration(try) * time.Millisecond):
		case <-ctx.Done():
			return h, ctx.Err()
		}
	}
}

func readHeader(f *os.File) ([]byte, error) {
	b := make([]byte, 2*slotSize)
	if _, err := f.ReadAt(b, 0); err == io.EOF {
		return nil, fmt.Errorf("%w: it is shorter than a header", ErrRefused)
	} else if err != nil {
		return nil, err
	}
	return b, nil
}

// NameOf is the name under which a sealed file is sealed unless another is given:
// that of the file without ".sealed".
func NameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".sealed") }

// Inspect tells where a sealed file belongs and which key it is under, as its
// header says. Nothing of it is proved.
func Inspect(path string) (p Place, key string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, "", err
	}
	defer f.Close()
	h, err := settled(context.Background(), f)
	if err != nil {
		return p, "", fmt.Errorf("%s: %w", path, err)
	}
	return h.place, h.key, nil
}

// Rotate wraps the data key of a file anew, under the first key as it is now. The
// data are not touched, so that the size of a file does not matter, and it may be
// read meanwhile. It also mends the header that an earlier rotation left half
// written.
//
// Whoever had the old key and a copy of the old header can still read the data: a
// key that was stolen asks for sealing anew.
func (s *Sealer) Rotate(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return fmt.Errorf("rotate %s: %w", path, err)
	}
	if err := s.rotate(ctx, f); err != nil {
		return fmt.Errorf("rotate %s: %w", path, err)
	}
	return f.Close()
}

func (s *Sealer) rotate(ctx context.Context, f *os.File) error {
	b, err := readHeader(f)
	if err != nil {
		return err
	}
	h, err := whole(b)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrRefused, err)
	}
	data, err := s.unwrap(ctx, h)
	if err != nil {
		return err
	}
	h.generation++
	if h, err = s.wrap(ctx, data, h); err != nil {
		return err
	}
	slot := h.encode()
	// The second copy is durable before the first is touched.
	for _, at := range []int64{slotSize, 0} {
		if _, err := f.WriteAt(slot, at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// whole is the newest slot that is whole.
func whole(b []byte) (header, error) {
	first, err := decodeSlot(b[:slotSize])
	second, err2 := decodeSlot(b[slotSize:])
	switch {
	case err != nil && err2 != nil:
		return first, err
	case err != nil || err2 == nil && second.generation > first.generation:
		return second, nil
	}
	return first, nil
}
