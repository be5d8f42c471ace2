package serve

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attacker speaks HTTP/2 frame by frame.
type attacker struct {
	*http2.Framer
	conn   io.Closer
	block  bytes.Buffer
	fields *hpack.Encoder
	seen   chan http2.ErrCode // of the first RST_STREAM or GOAWAY; closed with the connection
	resets chan uint32        // streams that were reset
}

func attack(t *testing.T, s *Server, listener string, settings ...http2.Setting) *attacker {
	conn := dial(t, s, listener, "h2")
	a := &attacker{Framer: http2.NewFramer(conn, conn), conn: conn, seen: make(chan http2.ErrCode, 1), resets: make(chan uint32, 100_000)}
	a.fields = hpack.NewEncoder(&a.block)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	a.WriteSettings(settings...)
	go func() {
		defer close(a.seen)
		note := func(code http2.ErrCode) {
			select {
			case a.seen <- code:
			default:
			}
		}
		for {
			f, err := a.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.GoAwayFrame:
				note(f.ErrCode)
			case *http2.RSTStreamFrame:
				note(f.ErrCode)
				a.resets <- f.StreamID
			}
		}
	}()
	return a
}

// headers encodes a request for an inference.
func (a *attacker) headers(listener, token string, more ...string) []byte {
	a.block.Reset()
	path, kind := "/v2/models/simple/infer", "application/json"
	if listener == "grpc" {
		path, kind = "/inference.GRPCInferenceService/ModelInfer", "application/grpc"
	}
	all := append([]string{":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", path, "content-type", kind, "te", "trailers", "authorization", "Bearer " + token}, more...)
	for i := 0; i < len(all); i += 2 {
		a.fields.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]})
	}
	return a.block.Bytes()
}

// ended waits until the server has closed the connection.
func (a *attacker) ended(t *testing.T) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case _, open := <-a.seen:
			if !open {
				return
			}
		case <-timeout:
			t.Error("the connection is still open")
			return
		}
	}
}

// What makes servers of HTTP/2 work or remember without end, at both of ours.
// Each ends in an error for the attacker or costs no more than what he sends, and
// somebody else is answered meanwhile.
func TestHTTP2(t *testing.T) {
	s, token := started(t, func(c *Config) {
		c.Limits.HeaderTime, c.Limits.BodyTime, c.Limits.AnswerTime = time.Second, time.Second, time.Second
		c.Models[0].Timeout = time.Second
	})
	good := callerOf(t, s, userOf(t, s, "somebody-else"))
	ways["rest"](good, "simple")
	ways["grpc"](good, "simple")
	before := runtime.NumGoroutine()
	attacks := map[string]func(t *testing.T, a *attacker, listener string){
		"rapid reset": func(t *testing.T, a *attacker, listener string) {
			for id := uint32(1); id < 40_000; id += 2 {
				if a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.headers(listener, token), EndHeaders: true}) != nil ||
					a.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return // cut off
				}
			}
		},
		"headers without an end": func(t *testing.T, a *attacker, listener string) {
			a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.headers(listener, token), EndHeaders: false})
			sent := 0
			for ; sent < 64<<20; sent += 16 << 10 {
				a.block.Reset()
				for a.block.Len() < 15<<10 {
					a.fields.WriteField(hpack.HeaderField{Name: "x-a", Value: string(bytes.Repeat([]byte{'a'}, 200)), Sensitive: true})
				}
				if a.WriteContinuation(1, false, a.block.Bytes()) != nil {
					break
				}
			}
			if sent >= 64<<20 {
				t.Error("64 MB of headers were taken")
			}
			a.ended(t)
		},
		"continuations without content": func(t *testing.T, a *attacker, listener string) {
			a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.headers(listener, token), EndHeaders: false})
			began := time.Now()
			// They cost what they cost to read, until the connection is too old to
			// be without a request.
			for time.Since(began) < 500*time.Millisecond && a.WriteContinuation(1, false, nil) == nil {
			}
		},
		"headers that refer to headers": func(t *testing.T, a *attacker, listener string) {
			long := string(bytes.Repeat([]byte{'a'}, 3900))
			for id := uint32(1); id < 100; id += 2 {
				block := append([]byte{}, a.headers(listener, token, "x-bomb", long)...)
				block = append(block, bytes.Repeat([]byte{0x80 | 62}, 15<<10)...) // the newest entry of the table, again and again
				if a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:16<<10], EndHeaders: false}) != nil ||
					a.WriteContinuation(id, true, block[16<<10:]) != nil {
					return
				}
			}
		},
		"streams without an end": func(t *testing.T, a *attacker, listener string) {
			for id := uint32(1); id < 2000; id += 2 {
				if a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.headers(listener, token), EndHeaders: true}) != nil {
					return
				}
			}
			refused, timeout := 0, time.After(10*time.Second)
			for refused < 700 { // all but 250 or 256
				select {
				case <-a.resets:
					refused++
				case <-timeout:
					t.Errorf("%d of 1000 streams were refused", refused)
					return
				}
			}
		},
		"pings that want an answer": func(t *testing.T, a *attacker, _ string) {
			for range 1_000_000 {
				if a.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
		},
		"settings that want an answer": func(t *testing.T, a *attacker, _ string) {
			for range 200_000 {
				if a.WriteSettings() != nil {
					return
				}
			}
		},
		"a body that drips": func(t *testing.T, a *attacker, listener string) {
			a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.headers(listener, token), EndHeaders: true})
			a.WriteData(1, false, []byte{0, 0, 1, 0, 0}) // of a message of 64 KB, in gRPC
			for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
				select {
				case <-a.resets:
					return
				case _, open := <-a.seen:
					if !open {
						return
					}
				default:
				}
				a.WriteData(1, false, []byte{' '})
				if time.Since(began) > 10*time.Second {
					t.Error("still read")
					return
				}
			}
		},
		"frames on no stream": func(t *testing.T, a *attacker, _ string) {
			a.AllowIllegalWrites = true
			a.WriteData(0, true, []byte("x"))
			a.ended(t)
		},
		"a window that overflows": func(t *testing.T, a *attacker, listener string) {
			for range 3 {
				a.WriteWindowUpdate(0, 1<<31-1)
			}
			if listener == "rest" { // gRPC's own server takes it for the largest there is
				a.ended(t)
			}
		},
	}
	for name, do := range attacks {
		for _, listener := range []string{"rest", "grpc"} {
			t.Run(name+" to "+listener, func(t *testing.T) {
				began := time.Now()
				a := attack(t, s, listener)
				done := make(chan struct{})
				var took uint64
				go func() {
					defer close(done)
					took = heapFor(func() { do(t, a, listener) })
				}()
				for asked := false; ; asked = true {
					select {
					case <-done:
					default:
						if code, body := good.rest("POST", "/v2/models/simple/infer", simpleBody); code != http.StatusOK {
							t.Errorf("somebody else: %d %s", code, body)
						}
						ways["grpc"](good, "simple")
						time.Sleep(20 * time.Millisecond) // what is allocated is to be the attacker's
						continue
					}
					if asked {
						break
					}
				}
				a.conn.Close()
				t.Logf("%v, %d MB allocated", time.Since(began), took>>20)
				if took > 1<<30 {
					t.Errorf("%d bytes allocated", took)
				}
			})
		}
	}
	eventually(t, "what attackers began to end", func() bool { return runtime.NumGoroutine() <= before+4 })
}
