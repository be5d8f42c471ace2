package oip

import (
	"bufio"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Limits bounds what reading a body may take. The zero value means the
// defaults.
type Limits struct {
	// Body is the most bytes of a body, counted as they arrive and again as
	// they are decompressed; 0 means 10 MB (10,000,000).
	Body int64
	// Ratio is how many bytes one compressed byte may become; 0 means 100. The
	// first 64 KiB are free, since small bodies compress well.
	Ratio int64
	// Arrived is called when all of a body is there, with its length, before anything
	// is made of it; its error ends the reading. nil is nothing.
	Arrived func(bytes int64) error
}

func (l Limits) body() int64 {
	if l.Body > 0 {
		return l.Body
	}
	return 10_000_000
}

func (l Limits) ratio() int64 {
	if l.Ratio > 0 {
		return l.Ratio
	}
	return 100
}

const freeBytes = 64 << 10

// ReadRequest reads the body of an inference call: JSON, JSON with binary
// tensors, or the bare elements of a model's only input, compressed with gzip
// or deflate or not. m describes the model and may be nil where bare elements
// are not to be taken. The caller enters Model and Version, which stand in the
// path. Errors are of type [*Error].
func ReadRequest(r *http.Request, m *Metadata, lim Limits) (*Request, error) {
	if err := checkMedia(r.Header); err != nil {
		return nil, err
	}
	head, err := jsonLength(r.Header)
	if err != nil {
		return nil, err
	}
	body, err := ReadBody(r.Body, r.Header.Values("Content-Encoding"), r.ContentLength, lim)
	if err != nil {
		return nil, err
	}
	switch {
	case head < 0:
		return DecodeRequest(body, nil)
	case head == 0:
		return rawRequest(body, m)
	case head > int64(len(body)):
		return nil, Errorf(BadInput, "%s is %d, the body has %d bytes", headerLength, head, len(body))
	}
	return DecodeRequest(body[:head:head], body[head:])
}

// ReadResponse reads a server's answer to an inference call. Its errors say
// what is wrong with the answer, for the log; they are not for clients.
func ReadResponse(r *http.Response, lim Limits) (*Response, error) {
	head, err := jsonLength(r.Header)
	if err != nil {
		return nil, err
	}
	body, err := ReadBody(r.Body, r.Header.Values("Content-Encoding"), r.ContentLength, lim)
	if err != nil {
		return nil, err
	}
	if head < 0 {
		return DecodeResponse(body, nil)
	}
	if head > int64(len(body)) {
		return nil, Errorf(BadInput, "%s is %d, the body has %d bytes", headerLength, head, len(body))
	}
	return DecodeResponse(body[:head:head], body[head:])
}

// checkMedia refuses bodies that say they are something else.
func checkMedia(h http.Header) error {
	given := h.Values("Content-Type")
	if len(given) == 0 {
		return nil // tritonclient names no type
	}
	if len(given) == 1 && (readable(given[0]) || readable(kindOf(given[0]))) {
		return nil
	}
	return Errorf(UnsupportedMedia, "content type %s is not read: send application/json, or application/octet-stream for binary tensors", excerpt(given[0]))
}

func readable(kind string) bool {
	return kind == "application/json" || kind == "application/octet-stream"
}

// kindOf is a media type without its parameters, "" for none.
func kindOf(media string) string {
	kind, _, err := mime.ParseMediaType(media)
	if err != nil {
		return ""
	}
	return kind
}

// jsonLength is the header of the binary tensor extension, -1 without one.
func jsonLength(h http.Header) (int64, error) {
	given := h.Values(headerLength)
	if len(given) == 0 {
		return -1, nil
	}
	n, err := strconv.ParseUint(given[0], 10, 63)
	if err != nil || len(given) > 1 {
		return 0, Errorf(BadInput, "%s is not one number of bytes: %s", headerLength, excerpt(given[0]))
	}
	return int64(n), nil
}

// ReadBody reads a whole body within limits. encoding is the value of the
// header Content-Encoding: none, "identity", "gzip" or "deflate" (which is zlib,
// RFC 1950). length is what Content-Length says, -1 if unknown: it refuses long
// bodies early, and is not believed otherwise.
func ReadBody(body io.Reader, encoding []string, length int64, lim Limits) ([]byte, error) {
	b, err := readBody(body, encoding, length, lim)
	if err == nil && lim.Arrived != nil {
		err = lim.Arrived(int64(len(b)))
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func readBody(body io.Reader, encoding []string, length int64, lim Limits) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	most := lim.body()
	if length > most {
		return nil, tooLarge(most)
	}
	arrived := &counter{r: body, left: most}
	coding := strings.ToLower(strings.TrimSpace(strings.Join(encoding, ",")))
	if coding == "" || coding == "identity" {
		return readAll(arrived, max(length, 0), func(int) error { return nil }, most)
	}
	in := bufio.NewReader(arrived)
	var z io.Reader
	var err error
	switch coding {
	case "gzip", "x-gzip":
		var g *gzip.Reader
		if g, err = gzip.NewReader(in); err == nil {
			g.Multistream(false)
			z = g
		}
	case "deflate":
		z, err = zlib.NewReader(in)
	default:
		return nil, Errorf(UnsupportedMedia, "content encoding %s is not read: send gzip, deflate or none", excerpt(coding))
	}
	if err != nil {
		return nil, broken(err)
	}
	out, err := readAll(z, 0, func(n int) error {
		if int64(n) > freeBytes && int64(n)/lim.ratio() > arrived.n {
			return Errorf(TooLarge, "the body is compressed more than %d to 1", lim.ratio())
		}
		return nil
	}, most)
	if err != nil {
		return nil, err
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return nil, Errorf(BadInput, "something follows the compressed body")
	}
	return out, nil
}

func tooLarge(most int64) error {
	return Errorf(TooLarge, "the body is larger than %d bytes", most)
}

// broken tells why a body could not be read to its end.
func broken(err error) error {
	var e *Error
	var tooMany *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &tooMany):
		return tooLarge(tooMany.Limit)
	}
	return &Error{BadInput, "the body ends early or is not compressed as it says", err}
}

// counter counts what arrives and ends with an error beyond its limit.
type counter struct {
	r       io.Reader
	n, left int64
}

func (c *counter) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.left -= int64(n); c.left < 0 {
		return 0, tooLarge(c.n - 1)
	}
	return n, err
}

// firstBytes is what is set aside for a body on its word alone.
const firstBytes = 64 << 10

// readAll reads to the end into memory that doubles as bytes arrive, and asks
// check after each step.
func readAll(r io.Reader, expect int64, check func(n int) error, most int64) ([]byte, error) {
	b := make([]byte, 0, min(max(expect+1, 512), firstBytes))
	for {
		if len(b) == cap(b) {
			grown := int64(2 * cap(b))
			if expect > int64(len(b)) {
				grown = min(grown, expect+1) // what is announced, once half of it has come
			}
			b = append(make([]byte, 0, grown), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > most {
			return nil, tooLarge(most)
		}
		if err := check(len(b)); err != nil {
			return nil, err
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, broken(err)
		}
	}
}

// worthwhile is the size below which an answer is not compressed.
const worthwhile = 1 << 10

// WriteResponse answers an inference call with what [EncodeResponse] makes of
// it, compressed if the client takes gzip or deflate. When it fails before a
// byte is written, the error is an [*Error], for [WriteError]; afterwards the
// client is gone and the error is for the log.
func WriteResponse(w http.ResponseWriter, r *http.Request, q *Request, a *Response) error {
	m, err := EncodeResponse(a, q)
	if err != nil {
		return err
	}
	h := w.Header()
	if h["X-Content-Type-Options"] == nil { // the gateway says so earlier
		h.Set("X-Content-Type-Options", "nosniff")
	}
	h.Set("Content-Type", "application/json")
	if m.Binary != nil {
		h.Set("Content-Type", "application/octet-stream")
		h.Set(headerLength, strconv.Itoa(len(m.JSON)))
	}
	if m.Len() < worthwhile { // the same for everyone; net/http counts what is this short
		_, err := m.WriteTo(w)
		return err
	}
	h.Add("Vary", "Accept-Encoding")
	coding := accepted(r.Header.Values("Accept-Encoding"))
	if coding == "" {
		h.Set("Content-Length", strconv.FormatInt(m.Len(), 10))
		_, err := m.WriteTo(w)
		return err
	}
	h.Set("Content-Encoding", coding)
	w.WriteHeader(http.StatusOK)
	var z io.WriteCloser
	if coding == "gzip" {
		z, err = gzip.NewWriterLevel(w, gzip.BestSpeed)
	} else {
		z, err = zlib.NewWriterLevel(w, zlib.BestSpeed)
	}
	if err != nil {
		return err
	}
	if _, err := m.WriteTo(z); err != nil {
		return err
	}
	return z.Close()
}

// WriteTo writes the whole message.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	k, err := w.Write(m.JSON)
	n := int64(k)
	for _, b := range m.Binary {
		if err != nil {
			break
		}
		k, err = w.Write(b)
		n += int64(k)
	}
	return n, err
}

// accepted picks gzip or deflate from what a client names (RFC 9110, 12.5.3);
// a weight of zero forbids, "*" alone is no wish.
func accepted(values []string) string {
	best := ""
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, weight, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if v, ok := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q="); ok {
			if q, err := strconv.ParseFloat(v, 64); err != nil || q <= 0 {
				continue
			}
		}
		if name == "gzip" || name == "deflate" && best == "" {
			best = name
		}
	}
	return best
}
