package parquetcheck

import (
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// Unsigned reports whether whole numbers of a type have no sign. The decoder gives
// them with one all the same.
func Unsigned(t parquet.Type) bool {
	if l := t.LogicalType(); l != nil {
		i, ok := l.Value.(*format.IntType)
		return ok && !i.IsSigned
	}
	return false
}

// AppendInt writes a whole number of 32 or 64 bits in decimal.
func AppendInt(b []byte, v parquet.Value, unsigned bool) []byte {
	switch {
	case v.Kind() == parquet.Int32 && unsigned:
		return strconv.AppendUint(b, uint64(v.Uint32()), 10)
	case v.Kind() == parquet.Int32:
		return strconv.AppendInt(b, int64(v.Int32()), 10)
	case unsigned:
		return strconv.AppendUint(b, v.Uint64(), 10)
	}
	return strconv.AppendInt(b, v.Int64(), 10)
}
