package scan

import (
	"encoding/binary"
	"errors"
)

var imageFormat = Format{
	Name:  "image",
	Doc:   "PNG and JPEG images, to their last byte",
	match: func(_ *scanner, src *source) bool { return src.has(0, pngMagic) || src.has(0, "\xff\xd8\xff") },
	scan:  scanImage,
}

const pngMagic = "\x89PNG\r\n\x1a\n"

// scanImage sees that an image is one and that nothing follows it. Its pixels
// are not decoded: a loader of models does not look at them.
func scanImage(_ *scanner, src *source, f *File) {
	if !src.has(0, pngMagic) {
		if !src.has(src.size-2, "\xff\xd9") {
			f.unread("image/damaged", src.size, errors.New("the JPEG image does not end as one"))
		}
		return
	}
	for off := int64(len(pngMagic)); ; {
		b, err := src.read(off, 12)
		if err != nil {
			f.unread("image/damaged", off, errors.New("the PNG image is cut short"))
			return
		}
		n := int64(binary.BigEndian.Uint32(b))
		if off += 12 + n; string(b[4:8]) != "IEND" {
			continue
		}
		if off != src.size {
			f.unread("image/trailing", off, errors.New("bytes follow after the PNG image"))
		}
		return
	}
}
