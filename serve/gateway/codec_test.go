package gateway

import (
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/redoubt-ml/redoubt/serve/oip/oippb"
)

// What the look at a message lets through is decoded as if nobody had looked, and
// has no more parts than the bound.
func FuzzCodec(f *testing.F) {
	for _, seed := range []string{"", "\x0a\x06simple", "\x2a\x02\x0a\x00\x3a\x01a", "\x2a\xff", "\x2a\x04\x22\x02\x0a\x00", "\x0b\x0c"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want oippb.ModelInferRequest
		err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &got)
		if wanted := proto.Unmarshal(b, &want); err == nil && (wanted != nil || !proto.Equal(&got, &want)) {
			t.Errorf("decoded %v, want %v, %v", &got, &want, wanted)
		} else if err != nil && wanted == nil && len(b) <= 2*maxParts {
			t.Errorf("refused %x: %v", b, err)
		}
		if err == nil && len(got.Inputs)+len(got.Outputs)+len(got.RawInputContents) > maxParts {
			t.Error("too many parts")
		}
	})
}
