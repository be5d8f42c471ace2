package scan

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

var tarFormat = Format{
	Name:  "tar",
	Doc:   "TAR archives: NeMo, PyTorch before 0.1.10, and any other",
	match: isTar,
	scan:  scanTar,
}

// isTar looks for a header with a right checksum, which archives of before
// POSIX have too.
func isTar(_ *scanner, src *source) bool {
	b, err := src.read(0, 512)
	if err != nil || b[0] == 0 {
		return false
	}
	sum := 8 * int(' ')
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	var want int
	_, err = fmt.Sscanf(strings.Trim(string(b[148:156]), " \x00"), "%o", &want)
	return err == nil && want == sum
}

func scanTar(s *scanner, src *source, f *File) {
	at := io.NewSectionReader(src.r, 0, src.size)
	r := tar.NewReader(at)
	seen := map[string]bool{}
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		off, seekErr := at.Seek(0, io.SeekCurrent)
		if err = errors.Join(err, seekErr, s.alive()); err != nil && h == nil || seekErr != nil {
			f.unread("archive/damaged", off, fmt.Errorf("member %d of the TAR archive: %w", n+1, err))
			return
		}
		if n >= s.limits.Members {
			f.unread("limit", off, fmt.Errorf("%w of %d members; raise --limit-members if that is meant", errLimit, s.limits.Members))
			return
		}
		checkName(f, off, strings.TrimSuffix(h.Name, "/"))
		if key := strings.ToLower(path.Clean(h.Name)); seen[key] {
			f.add(Unproven, redoubt.High, "archive/duplicate", off, "two members are called %q: the later one replaces the first", h.Name)
		} else {
			seen[key] = true
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if h.Size > src.size-off {
				f.unread("archive/damaged", off, fmt.Errorf("member %q is cut short", h.Name))
				return
			}
			s.examine(src.part(h.Name, off, h.Size))
		case tar.TypeDir:
		case tar.TypeSymlink, tar.TypeLink:
			f.add(Unsafe, redoubt.High, "archive/link", off, "member %q is a link to %q", h.Name, h.Linkname)
		default:
			f.add(Unproven, redoubt.High, "archive/type", off, "member %q is of type %q, which is not read", h.Name, string(h.Typeflag))
		}
	}
	if off, err := at.Seek(0, io.SeekCurrent); err != nil || !zeros(src, off) {
		f.unread("archive/trailing", off, errors.New("bytes follow after the end of the TAR archive"))
	}
}

// zeros says whether only zeros follow.
func zeros(src *source, off int64) bool {
	c := src.cursor(off)
	for c.left() > 0 {
		b, err := c.next(int(min(c.left(), window)))
		if err != nil || strings.Trim(string(b), "\x00") != "" {
			return false
		}
	}
	return true
}
