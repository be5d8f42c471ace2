package scan

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The assembler of inert files. What a file would run is harmless (it asks for
// the working folder), or does not exist; how it gets there is what the attack
// of its family does.

// cat joins strings, bytes and numbers below 256.
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case byte:
			b = append(b, p)
		case int:
			b = append(b, byte(p))
		}
	}
	return b
}

func le(n uint64, width int) []byte { return binary.LittleEndian.AppendUint64(nil, n)[:width] }

// Instructions.
func protoOp(n int) []byte         { return cat(0x80, n) }
func global(m, n string) []byte    { return cat("c", m, "\n", n, "\n") }
func text(s string) []byte         { return cat("X", le(uint64(len(s)), 4), s) }
func shortText(s string) []byte    { return cat(0x8c, len(s), s) }
func blob(b []byte) []byte         { return cat("B", le(uint64(len(b)), 4), b) }
func stackName(m, n string) []byte { return cat(shortText(m), shortText(n), 0x93) }
func call(f []byte, args ...any) []byte {
	return cat(f, "(", cat(args...), "tR")
}
func whole(version int, parts ...any) []byte { return cat(protoOp(version), cat(parts...), ".") }

// inert is the harmless call.
var inert = call(global("os", "getcwd"))

// member is a file of an archive, with what is wrong about it.
type member struct {
	name  string
	body  []byte
	local string // another name in the local header
	flags uint16
	crc   uint32 // another checksum
	mode  uint32
	pack  bool
	gone  bool // not in the directory
}

func zipped(members ...member) []byte {
	var b, dir []byte
	count := 0
	for _, m := range members {
		body, method := m.body, uint64(0)
		if m.pack {
			var w bytes.Buffer
			f, _ := flate.NewWriter(&w, 9)
			_, _ = f.Write(m.body)
			_ = f.Close()
			body, method = w.Bytes(), 8
		}
		crc := crc32.ChecksumIEEE(m.body)
		if m.crc != 0 {
			crc = m.crc
		}
		local := m.name
		if m.local != "" {
			local = m.local
		}
		at := len(b)
		middle := cat(le(uint64(m.flags), 2), le(method, 2), le(0, 4), le(uint64(crc), 4), le(uint64(len(body)), 4), le(uint64(len(m.body)), 4))
		b = cat(b, zipLocal, le(20, 2), middle, le(uint64(len(local)), 2), le(0, 2), local, body)
		if m.gone {
			continue
		}
		count++
		dir = cat(dir, zipCentral, le(20|3<<8, 2), le(20, 2), middle, le(uint64(len(m.name)), 2), le(0, 8), le(uint64(m.mode)<<16, 4), le(uint64(at), 4), m.name)
	}
	return cat(b, dir, "PK\x05\x06", le(0, 4), le(uint64(count), 2), le(uint64(count), 2), le(uint64(len(dir)), 4), le(uint64(len(b)), 4), le(0, 2))
}

// tarred is a POSIX archive of regular files, or of links where link is set.
type tarMember struct {
	name, link string
	typ        byte
	body       []byte
}

func tarred(members ...tarMember) []byte {
	var b []byte
	for _, m := range members {
		h := make([]byte, 512)
		copy(h, m.name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00", len(m.body)))
		h[156] = m.typ
		if m.typ == 0 {
			h[156] = '0'
		}
		copy(h[157:], m.link)
		copy(h[257:], "ustar\x0000")
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b = cat(b, h, m.body, make([]byte, (512-len(m.body)%512)%512))
	}
	return cat(b, make([]byte, 1024))
}

// sevenZipped is a 7z archive of one stored member.
func sevenZipped(name string, body []byte) []byte {
	var utf []byte
	for _, c := range name + "\x00" {
		utf = cat(utf, le(uint64(c), 2))
	}
	n := func(v int) []byte { return cat(0xc0|v>>16, le(uint64(v&0xffff), 2)) } // three bytes
	header := cat(z7Header, z7MainStreams,
		z7PackInfo, 0, 1, z7Size, n(len(body)), z7End,
		z7UnpackInfo, z7Folder, 1, 0, 1, 1, 0, z7CodersUnpackSize, n(len(body)), z7CRC, 1, le(uint64(crc32.ChecksumIEEE(body)), 4), z7End,
		z7End,
		z7FilesInfo, 1, z7Names, n(1+len(utf)), 0, utf, z7End, z7End)
	start := cat(le(uint64(len(body)), 8), le(uint64(len(header)), 8), le(uint64(crc32.ChecksumIEEE(header)), 4))
	return cat("7z\xbc\xaf\x27\x1c", 0, 4, le(uint64(crc32.ChecksumIEEE(start)), 4), start, body, header)
}

// npy is an array of the given descr and shape, both as Python writes them.
func npy(descr, shape string, body []byte) []byte {
	head := fmt.Sprintf("{'descr': %s, 'fortran_order': False, 'shape': %s, }", descr, shape)
	for (10+len(head)+1)%64 != 0 {
		head += " "
	}
	head += "\n"
	return cat("\x93NUMPY", 1, 0, le(uint64(len(head)), 2), head, body)
}

func safetensorsFile(header string, data int) []byte {
	return cat(le(uint64(len(header)), 8), header, make([]byte, data))
}

// Protobuf.
func pbBytes(n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
}
func pbText(n protowire.Number, v string) []byte { return pbBytes(n, []byte(v)) }
func pbInt(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
}

func tfNodeBytes(name, op string, inputs ...string) []byte {
	b := cat(pbText(1, name), pbText(2, op))
	for _, in := range inputs {
		b = cat(b, pbText(3, in))
	}
	return pbBytes(1, b)
}

// tfFunction is a function with one node of that operation.
func tfFunction(name, op string) []byte {
	return pbBytes(1, cat(pbBytes(1, pbText(1, name)), pbBytes(3, cat(pbText(1, "n"), pbText(2, op)))))
}

// tfCall is a node that calls a function through an attribute.
func tfCall(name, function string, inputs ...string) []byte {
	b := cat(pbText(1, name), pbText(2, "StatefulPartitionedCall"))
	for _, in := range inputs {
		b = cat(b, pbText(3, in))
	}
	return pbBytes(1, cat(b, pbBytes(5, cat(pbText(1, "f"), pbBytes(2, pbBytes(10, pbText(1, function)))))))
}

func savedModel(graph ...any) []byte {
	return cat(pbInt(1, 1), pbBytes(2, cat(pbBytes(1, pbText(4, "serve")), pbBytes(2, cat(graph...)))))
}

func onnxModel(graph ...any) []byte {
	return cat(pbInt(1, 8), pbBytes(7, cat(graph...)), pbBytes(8, cat(pbText(1, ""), pbInt(2, 17))))
}

func onnxNode(domain, op string, more ...any) []byte {
	b := cat(pbText(1, "x"), pbText(2, "y"), pbText(4, op))
	if domain != "" {
		b = cat(b, pbText(7, domain))
	}
	return pbBytes(1, cat(b, cat(more...)))
}

// onnxOutside is an initializer whose data lie in another file.
func onnxOutside(location string, more ...any) []byte {
	pair := func(k, v string) []byte { return pbBytes(13, cat(pbText(1, k), pbText(2, v))) }
	return pbBytes(5, cat(pbInt(1, 4), pbInt(2, 1), pbText(8, "w"), pair("location", location), cat(more...), pbInt(14, 1)))
}

func onnxPair(k, v string) []byte { return pbBytes(13, cat(pbText(1, k), pbText(2, v))) }

// gguf is a file of metadata pairs and tensor infos, and data after them.
func gguf(pairs, tensors [][]byte, data int) []byte {
	b := cat("GGUF", le(3, 4), le(uint64(len(tensors)), 8), le(uint64(len(pairs)), 8), bytes.Join(pairs, nil), bytes.Join(tensors, nil))
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return cat(b, make([]byte, data))
}

func ggufText(s string) []byte          { return cat(le(uint64(len(s)), 8), s) }
func ggufPair(key, value string) []byte { return cat(ggufText(key), le(8, 4), ggufText(value)) }
func ggufUint(key string, v int) []byte { return cat(ggufText(key), le(4, 4), le(uint64(v), 4)) }
func ggufTensor(name string, n, typ, off int) []byte {
	return cat(ggufText(name), le(1, 4), le(uint64(n), 8), le(uint64(typ), 4), le(uint64(off), 8))
}

// hdf5File is a file whose root group has text attributes and nothing else.
func hdf5File(messages ...[]byte) []byte {
	const root = 96
	body := bytes.Join(messages, nil)
	all := uint64(root + 16 + len(body))
	none := bytes.Repeat([]byte{0xff}, 8)
	return cat(hdf5Magic, 0, 0, 0, 0, 0, 8, 8, 0, le(4, 2), le(16, 2), le(0, 4),
		le(0, 8), none, le(all, 8), none, le(0, 8), le(root, 8), le(0, 8), make([]byte, 16),
		1, 0, le(uint64(len(messages)), 2), le(1, 4), le(uint64(len(body)), 4), le(0, 4), body)
}

func hdf5Msg(typ int, body []byte) []byte {
	for len(body)%8 != 0 {
		body = append(body, 0)
	}
	return cat(le(uint64(typ), 2), le(uint64(len(body)), 2), 0, 0, 0, 0, body)
}

// hdf5Attr is an attribute of a fixed-length string, message version 1.
func hdf5Attr(name, value string) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, (8-len(b)%8)%8)...) }
	dt := cat(0x13, 0, 0, 0, le(uint64(len(value)), 4))
	space := cat(1, 0, 0, 0, le(0, 4))
	return hdf5Msg(0x0c, cat(1, 0, le(uint64(len(name)+1), 2), le(uint64(len(dt)), 2), le(uint64(len(space)), 2),
		pad(cat(name, 0)), pad(dt), pad(space), value))
}

func hdf5Link(typ int, name string, target []byte) []byte {
	return hdf5Msg(0x06, cat(1, 8, typ, len(name), name, target))
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// torchZip is what torch.save writes: a pickle and, beside it, storage "0".
func torchZip(pickle []byte, more ...member) []byte {
	return zipped(slices.Concat([]member{{name: "m/data.pkl", body: pickle}, {name: "m/data/0", body: make([]byte, 24)}, {name: "m/version", body: []byte("3\n")}}, more)...)
}

// torchTensor is a tensor of 2 x 3 floats over storage "0".
func torchTensor() []byte {
	id := cat("(", text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), "K", 6, "tQ")
	return call(global("torch._utils", "_rebuild_tensor_v2"), id, "K", 0, "K", 2, "K", 3, 0x86, "K", 3, "K", 1, 0x86, 0x89, call(global("collections", "OrderedDict")))
}

// numpyArray is an array of n float64 as numpy pickles it.
func numpyArray(n int) []byte {
	return cat(call(global("numpy.core.multiarray", "_reconstruct"), global("numpy", "ndarray"), "K", 0, 0x85, "C", 1, "b"),
		"(", "K", 1, "K", n, 0x85, numpyDtype("f8"), 0x89, blob(make([]byte, 8*n)), "tb")
}

func numpyDtype(code string) []byte {
	return cat(call(global("numpy", "dtype"), text(code), 0x89, 0x88), "(", "K", 3, text("<"), "NNN", "J", le(0xffffffff, 4), "J", le(0xffffffff, 4), "K", 0, "tb")
}

// joblibArray is an array as joblib writes it: a wrapper, then the bytes.
func joblibArray(n int, data []byte) []byte {
	return cat(global("joblib.numpy_pickle", "NumpyArrayWrapper"), ")", 0x81, "}(",
		text("subclass"), global("numpy", "ndarray"), text("shape"), "K", n, 0x85, text("order"), text("C"),
		text("dtype"), numpyDtype("f8"), text("allow_mmap"), 0x88, text("numpy_array_alignment_bytes"), "N", "ub", data)
}
