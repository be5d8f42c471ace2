package half_test

import (
	"math"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/half"
)

// Reference values made with numpy 2.4: float32 -> float16 -> bits, and
// float32 -> bfloat16 by rounding to even.
func TestAgainstNumpy(t *testing.T) {
	for _, c := range []struct {
		v     float32
		half  uint16
		brain uint16
	}{
		{0, 0, 0}, {1, 0x3c00, 0x3f80}, {-2, 0xc000, 0xc000}, {0.1, 0x2e66, 0x3dcd}, {1.0 / 3, 0x3555, 0x3eab},
		{65504, 0x7bff, 0x4780}, {65519, 0x7bff, 0x4780}, {65520, 0x7c00, 0x4780}, {6e-8, 0x0001, 0x3381},
		{6.1e-5, 0x03ff, 0x3880}, {6.1035156e-5, 0x0400, 0x3880}, {0.99999, 0x3c00, 0x3f80}, {2049, 0x6800, 0x4500},
		{2051, 0x6802, 0x4500}, {-1e30, 0xfc00, 0xf14a},
	} {
		if got := half.Float16(c.v); got != c.half {
			t.Errorf("float16 of %v is %#04x, want %#04x", c.v, got, c.half)
		}
		if got := half.Bfloat16(c.v); got != c.brain {
			t.Errorf("bfloat16 of %v is %#04x, want %#04x", c.v, got, c.brain)
		}
	}
}

// Ties, limits and subnormal numbers.
func TestFloat16(t *testing.T) {
	for _, c := range []struct {
		v    float32
		bits uint16
	}{
		{0, 0}, {float32(math.Copysign(0, -1)), 0x8000}, {1, 0x3c00}, {-2, 0xc000}, {65504, 0x7bff}, {65519, 0x7bff}, {65520, 0x7c00},
		{float32(math.Inf(-1)), 0xfc00}, {0x1p-24, 1}, {0x1p-25, 0}, {0x1.8p-24, 2}, {0x1p-14, 0x0400}, {0x1.ff8p-15, 0x03ff}, {0x1.ffcp-15, 0x0400},
		{0.1, 0x2e66}, {1.0 / 3, 0x3555}, {2049, 0x6800}, {2051, 0x6802},
	} {
		if got := half.Float16(c.v); got != c.bits {
			t.Errorf("%v is %#04x, want %#04x", c.v, got, c.bits)
		}
	}
	if got := half.Float16(float32(math.NaN())); got&0x7fff != 0x7e00 {
		t.Errorf("NaN is %#04x", got)
	}
}

// Every pattern of bits is the nearest to its own value, and every value between
// two neighbours goes to the nearer.
func TestRoundTrip(t *testing.T) {
	for h := range 1 << 16 {
		v, b := half.FromFloat16(uint16(h)), half.FromBfloat16(uint16(h))
		if v == v && half.Float16(v) != uint16(h) {
			t.Fatalf("float16 %#04x is %v, which is %#04x", h, v, half.Float16(v))
		}
		if b == b && half.Bfloat16(b) != uint16(h) {
			t.Fatalf("bfloat16 %#04x is %v, which is %#04x", h, b, half.Bfloat16(b))
		}
		if (v != v) != (h&0x7fff > 0x7c00) || (b != b) != (h&0x7fff > 0x7f80) {
			t.Fatalf("%#04x: %v and %v", h, v, b)
		}
		next := half.FromFloat16(uint16(h + 1))
		if h&0x7fff >= 0x7bff || h&0x7fff == 0x7fff {
			continue
		}
		if got := half.Float16(v + (next-v)/4); got != uint16(h) {
			t.Fatalf("a quarter beyond %#04x is %#04x", h, got)
		}
	}
	if n := half.FromBfloat16(half.Bfloat16(float32(math.NaN()))); n == n {
		t.Error("NaN became a number")
	}
}
