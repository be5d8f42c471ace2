package scan

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a generated file. Disk, where set, makes it in a folder instead,
// because what matters lies beside it.
type sample struct {
	family string
	name   string
	body   []byte
	disk   func(t *testing.T, dir string)
	limits Limits
}

// modules are the names that published payloads reach, one or more a family
// of imports. None of them is called with an argument that does anything.
var modules = []struct{ family, names string }{
	{"runs programs", "os:system os:popen os:execv os:spawnl posix:system nt:system subprocess:Popen subprocess:run subprocess:check_output commands:getoutput pty:spawn asyncio.subprocess:create_subprocess_shell asyncio:create_subprocess_exec multiprocessing.util:spawnv_passfds _posixsubprocess:fork_exec platform:popen"},
	{"runs code", "builtins:eval builtins:exec builtins:compile __builtin__:eval __builtin__:execfile code:InteractiveInterpreter codeop:compile_command runpy:run_path runpy:_run_code timeit:timeit trace:Trace cProfile:run cProfile:runctx profile:run profile:Profile.run pdb:run pdb:Pdb bdb:Bdb.run doctest:debug_script idlelib.pyshell:ModifiedInterpreter lib2to3.pgen2.pgen:ParserGenerator ensurepip._run_pip:x test.support.script_helper:assert_python_ok"},
	{"imports and reaches", "builtins:getattr builtins:__import__ builtins:setattr builtins:globals builtins:vars importlib:import_module importlib.util:spec_from_file_location imp:load_source pkgutil:resolve_name pkgutil:get_loader zipimport:zipimporter pydoc:locate pydoc:pipepager operator:attrgetter operator:methodcaller operator:itemgetter _operator:attrgetter functools:partial functools:reduce itertools:starmap builtins:map builtins:filter builtins:type sys:modules sys:setprofile inspect:getattr_static types:CodeType types:FunctionType marshal:loads cloudpickle.cloudpickle:_make_function cloudpickle.cloudpickle:subimport cloudpickle.cloudpickle_fast:_make_cell dill._dill:_create_function dill._dill:_eval_repr"},
	{"loads another pickle", "pickle:loads _pickle:loads cPickle:loads pickle:Unpickler shelve:open joblib:load torch:load torch.serialization:load numpy:load pandas:read_pickle dill:loads"},
	{"memory and libraries", "ctypes:CDLL ctypes:string_at _ctypes:dlopen cffi:FFI ctypes.util:find_library gc:get_objects mmap:mmap numpy.ctypeslib:load_library"},
	{"files", "builtins:open io:open io:FileIO _io:FileIO codecs:open shutil:rmtree shutil:copy tempfile:NamedTemporaryFile pathlib:Path.write_text logging:FileHandler logging.config:dictConfig fileinput:input linecache:getlines zipfile:ZipFile tarfile:open sqlite3:connect configparser:RawConfigParser numpy:save numpy:memmap torch:save"},
	{"network", "socket:create_connection socket:gethostbyname ssl:get_server_certificate http.client:HTTPSConnection httplib:HTTPConnection urllib.request:urlopen urllib2:urlopen urllib:urlopen ftplib:FTP smtplib:SMTP imaplib:IMAP4 telnetlib:Telnet xmlrpc.client:ServerProxy webbrowser:open requests:get aiohttp:ClientSession huggingface_hub:hf_hub_download"},
	{"packages", "pip:main pip._internal:main ensurepip:bootstrap venv:create venv:EnvBuilder setuptools:setup distutils.spawn:spawn"},
	{"frameworks", "numpy.f2py.crackfortran:myeval numpy.f2py.crackfortran:getlincoef numpy.testing._private.utils:runstring numpy.distutils.exec_command:exec_command torch.hub:load torch.utils.collect_env:run torch._inductor.codecache:compile_file torch.jit.unsupported_tensor_ops:execWrapper torch.jit:load torch.distributed.rpc:rpc_sync torch.utils._config_module:ConfigModule.load_config torch.utils.bottleneck.__main__:run_cprofile torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression pandas:read_csv pandas:read_html mlflow.projects.backend.local:_run_entry_point transformers:AutoModel.from_pretrained scipy.weave:inline tensorflow.io:read_file dask:compute hydra.utils:instantiate"},
	{"disarms scanners", "picklescan.scanner:scan_pickle_bytes fickling.fickle:Pickled modelscan.modelscan:ModelScan modelaudit:core"},
	{"on no list", "acme.loader:run sklearn.extra:Helper torch.nn.modules.evil:Linear numpyx:ndarray idna.core:encode"},
}

// evil are the files that must never be safe.
func evil() []sample {
	var all []sample
	add := func(family, name string, body []byte) {
		all = append(all, sample{family: family, name: name, body: body})
	}
	for _, m := range modules {
		for _, full := range strings.Fields(m.names) {
			module, name, _ := strings.Cut(full, ":")
			file := strings.ReplaceAll(full, ":", ".")
			add("import: "+m.family, file+".pkl", whole(2, call(global(module, name), text("x"))))
			add("import: "+m.family, file+".p4.bin", whole(4, call(stackName(module, name), text("x"))))
		}
	}
	all = append(all, evilPickles()...)
	all = append(all, evilArchives()...)
	all = append(all, evilModels()...)
	return append(all, evilData()...)
}

func evilPickles() []sample {
	var all []sample
	family := ""
	add := func(name string, parts ...any) {
		all = append(all, sample{family: family, name: name, body: cat(parts...)})
	}
	os, getcwd := global("os", "getcwd"), stackName("os", "getcwd")
	list := global("builtins", "list")

	family = "pickle: calls"
	add("inst.pkl", "(ios\ngetcwd\n.")
	add("obj.pkl", protoOp(2), "(", os, "o.")
	add("newobj.pkl", protoOp(2), os, ")", 0x81, ".")
	add("newobj_ex.pkl", protoOp(4), getcwd, ")}", 0x92, ".")
	add("reduce_empty.pkl", protoOp(2), os, ")R.")
	add("build_setstate.pkl", protoOp(2), call(global("acme", "Loader")), "}", text("a"), "K", 1, "sb.")
	add("build_rebind.pkl", protoOp(2), global("numpy", "ndarray"), "}", text("dtype"), global("numpy", "float32"), "sb.")
	add("build_rebind_function.pkl", protoOp(2), global("torch._utils", "_rebuild_tensor_v2"), "}", text("__code__"), "K", 1, "sb.")
	add("build_slots_class.pkl", protoOp(2), global("argparse", "Namespace"), ")", 0x81, "N}", text("__class__"), global("argparse", "Namespace"), "s", 0x86, "b.")
	add("build_dunder.pkl", protoOp(2), global("argparse", "Namespace"), ")", 0x81, "}", text("__reduce__"), list, "sb.")
	add("append_method.pkl", protoOp(2), call(global("acme", "Sink")), "K", 1, "a.")
	add("setitem_global.pkl", protoOp(2), global("sys", "modules"), text("json"), "K", 1, "s.")
	add("setitem_method.pkl", protoOp(2), call(global("acme", "Sink")), text("k"), "K", 1, "s.")
	add("additems_method.pkl", protoOp(4), call(global("acme", "Sink")), "(K", 1, 0x90, ".")
	add("computed_callee.pkl", protoOp(2), call(call(global("acme", "pick"), text("a")), text("b")), ".")
	add("kwargs.pkl", protoOp(4), global("argparse", "Namespace"), ")}", text("a"), "K", 1, "s", 0x92, ".")

	family = "pickle: call shapes of allowed names"
	add("reconstructor_base.pkl", protoOp(2), call(global("copyreg", "_reconstructor"), global("argparse", "Namespace"), global("acme", "Base"), "N"), ".")
	add("reconstructor_state.pkl", protoOp(2), call(global("copyreg", "_reconstructor"), global("argparse", "Namespace"), global("builtins", "object"), text("x")), ".")
	add("reconstructor_class.pkl", protoOp(2), call(global("copyreg", "_reconstructor"), global("acme", "Class"), global("builtins", "object"), "N"), ".")
	add("defaultdict_factory.pkl", protoOp(2), call(global("collections", "defaultdict"), os), ".")
	add("reconstruct_huge.pkl", protoOp(2), call(global("numpy.core.multiarray", "_reconstruct"), global("numpy", "ndarray"), "J", le(0x7fffffff, 4), 0x85, blob([]byte("b"))), ".")
	add("reconstruct_class.pkl", protoOp(2), call(global("numpy.core.multiarray", "_reconstruct"), global("acme", "ndarray"), "K", 0, 0x85, blob([]byte("b"))), ".")
	add("from_type_function.pkl", protoOp(2), call(global("torch._tensor", "_rebuild_from_type_v2"), global("acme", "f"), global("torch", "Tensor"), ")", "N"), ".")
	add("tensor_hook.pkl", protoOp(2), call(global("torch._utils", "_rebuild_tensor_v2"), "K", 0, "K", 0, ")", ")", 0x89, "N"), ".")
	add("encode_codec.pkl", protoOp(2), call(global("_codecs", "encode"), text("x"), text("acme_codec")), ".")
	add("storage_bytes.pkl", protoOp(2), call(global("torch.storage", "_load_from_bytes"), blob(whole(2, inert))), ".")

	family = "pickle: names"
	add("ext1.pkl", protoOp(2), 0x82, 1, ")R.")
	add("ext2.pkl", protoOp(2), 0x83, le(300, 2), ")R.")
	add("ext4.pkl", protoOp(2), 0x84, le(70000, 4), ")R.")
	add("dotted.pkl", protoOp(4), call(stackName("collections", "abc.sys.modules.get"), text("os")), ".")
	add("dotted_os.pkl", protoOp(4), call(stackName("torch", "os.getcwd")), ".")
	add("dotted_builtins.pkl", protoOp(4), call(stackName("numpy", "__builtins__.get"), text("eval")), ".")
	add("dotted_class.pkl", protoOp(4), call(stackName("collections", "OrderedDict.__class__.__subclasses__")), ".")
	add("unicode_escape.pkl", protoOp(4), `V\u006f\u0073`, "\n", "Vgetc\\u0077d\n", 0x93, ")R.")
	add("string_escape.pkl", protoOp(4), `S'\x6f\x73'`, "\n", `S'getcw\144'`, "\n", 0x93, ")R.")
	add("python2.pkl", protoOp(0), call(global("__builtin__", "eval"), "S'1+1'\n"), ".")
	add("python2_commands.pkl", protoOp(0), call(global("commands", "getoutput"), "S'x'\n"), ".")
	add("long_name.pkl", protoOp(4), text(strings.Repeat("a", maxText+1)), text("b"), 0x93, ")R.")
	add("computed_name.pkl", protoOp(4), call(global("_codecs", "encode"), text("os"), text("latin1")), text("getcwd"), 0x93, ")R.")
	add("carriage_return.pkl", "cos\r\ngetcwd\r\n)R.")
	add("space.pkl", "cos \ngetcwd \n)R.")

	family = "pickle: indirection"
	add("memo.pkl", protoOp(2), os, "q", 5, "0", "h", 5, ")R.")
	add("memo_text.pkl", os, "p77\n0g77\n)R.")
	add("memoize.pkl", protoOp(4), getcwd, 0x94, "0", "h", 0, ")R.")
	add("memo_overwrite.pkl", protoOp(2), list, "q", 1, "0", os, "q", 1, "0", "h", 1, ")R.")
	add("dup.pkl", protoOp(2), os, "2", ")R", "0", ")R.")
	add("pop.pkl", protoOp(2), inert, "0", "N.")
	add("pop_mark.pkl", protoOp(2), "(", inert, "1N.")
	add("mark_pop.pkl", protoOp(2), "(0", inert, ".")
	add("in_list.pkl", protoOp(2), "](", inert, "e.")
	add("in_dict.pkl", protoOp(2), "}", text("k"), inert, "s.")
	add("dict_key.pkl", protoOp(2), "}", inert, "K", 1, "s.")
	add("persid.pkl", "Pos.getcwd\n.")
	add("binpersid.pkl", protoOp(2), text("os.getcwd"), "Q.")
	add("next_buffer.pkl", protoOp(5), 0x97, ".")

	family = "pickle: framing"
	frame := func(n int) []byte { return cat(0x95, le(uint64(n), 8)) }
	add("frame_in_argument.pkl", protoOp(4), frame(3), shortText("os"), shortText("getcwd"), 0x93, ")R.")
	add("frame_in_text.pkl", protoOp(4), frame(4), os, ")R.")
	add("frame_short.pkl", protoOp(4), frame(2), inert, ".")
	add("frame_hides.pkl", protoOp(4), frame(5), "C", 200, "abc", inert, ".", make([]byte, 200))
	add("frame_nested.pkl", protoOp(4), frame(40), frame(20), inert, ".", make([]byte, 40))
	add("frame_after_stop.pkl", protoOp(4), frame(30), "N.", inert, ".", make([]byte, 40))

	family = "pickle: around the payload"
	add("stacked.pkl", whole(2, "N"), whole(2, inert))
	add("stacked_many.pkl", bytes.Repeat(whole(2, "K", 1), 50), whole(2, inert))
	add("garbage_after.pkl", whole(2, inert), "\x00\x01garbage")
	add("garbage_after_benign.pkl", whole(2, "N"), "\x00\x01garbage")
	add("truncated_after.pkl", protoOp(2), inert, "X", le(100, 4), "cut")
	add("no_stop.pkl", protoOp(2), inert)
	add("bad_opcode_after.pkl", protoOp(2), inert, 0xff, ".")
	add("proto_twice.pkl", protoOp(2), protoOp(4), "N.")
	add("proto_late.pkl", "N0", protoOp(2), "N.")
	add("protocol0.txt", "cos\ngetcwd\n(tR.")
	add("protocol0.md", "(S'# Readme'\ncos\ngetcwd\n)R.")
	add("protocol1.dat", "(", os, ")R", "t.")
	add("no_magic.bin", getcwd, ")R.")
	add("long_line.txt", "S'", strings.Repeat("a", 2*maxLine), "'\n0cos\ngetcwd\n(tR.")
	add("long_number.txt", "L", strings.Repeat("1", 2*maxLine), "\n0cos\ngetcwd\n(tR.")
	add("padded.txt", strings.Repeat("N0", 5000), "cos\ngetcwd\n(tR.")
	add("padded_binary.dat", strings.Repeat("N0", 5000), stackName("os", "getcwd"), ")R.")
	add("in_picture.png", whole(2, inert))

	family = "pickle: nested"
	add("loads.pkl", protoOp(3), call(global("pickle", "loads"), "C", len(whole(2, inert)), whole(2, inert)), ".")
	add("as_bytes.pkl", protoOp(3), blob(whole(2, inert)), ".")
	add("as_text.pkl", protoOp(2), text("cos\ngetcwd\n(tR."), ".")
	add("as_escaped_text.pkl", `Vcos\u000agetcwd\u000a(tR.`, "\n.")
	add("twice.pkl", protoOp(3), blob(whole(3, blob(whole(2, inert)))), ".")
	add("no_proto.pkl", protoOp(3), blob(cat(getcwd, ")R.")), ".")

	family = "pickle: denial of service"
	lists := cat(protoOp(2), "]q", 0)
	for i := range 40 {
		lists = cat(lists, "](", "h", i, "h", i, "e", "q", i+1)
	}
	add("get_put.pkl", lists, ".")
	add("dup.pkl", protoOp(2), "K", 1, bytes.Repeat([]byte("2\x86"), 150), ".")
	add("long4.pkl", protoOp(2), 0x8b, le(0x7fffffff, 4), "x.")
	add("bytes8.pkl", protoOp(4), 0x8e, le(1<<60, 8), "x.")
	add("text8.pkl", protoOp(4), 0x8d, le(1<<63, 8), "x.")
	add("memo_index.pkl", protoOp(2), "Nr", le(0xfffffff0, 4), ".")
	add("memo_text_index.pkl", "Np4294967290\n.")
	all = append(all, sample{family: family, name: "opcodes.pkl", body: cat(protoOp(2), bytes.Repeat([]byte("N0"), 5000), "N."), limits: Limits{Opcodes: 1000}},
		sample{family: family, name: "depth.pkl", body: deepPickle(12)})
	return all
}

func deepPickle(n int) []byte {
	b := whole(3, "N")
	for range n {
		b = whole(3, blob(b), "0N")
	}
	return b
}

func gzipped(b []byte) []byte {
	var w bytes.Buffer
	z := gzip.NewWriter(&w)
	_, _ = z.Write(b)
	_ = z.Close()
	return w.Bytes()
}

func zlibbed(b []byte) []byte {
	var w bytes.Buffer
	z := zlib.NewWriter(&w)
	_, _ = z.Write(b)
	_ = z.Close()
	return w.Bytes()
}

func evilArchives() []sample {
	var all []sample
	family := ""
	add := func(name string, body []byte) { all = append(all, sample{family: family, name: name, body: body}) }
	bad, fine := whole(2, inert), whole(2, "N")

	family = "archive: payload inside"
	add("model.pt", torchZip(bad))
	add("model_deflated.pt", zipped(member{name: "m/data.pkl", body: bad, pack: true}, member{name: "m/version", body: []byte("3\n")}))
	add("other_name.pt", torchZip(fine, member{name: "m/extra.bin", body: bad}))
	add("wrong_extension.txt", torchZip(bad))
	add("wrong_extension.safetensors", torchZip(bad))
	add("in_zip_in_zip.zip", zipped(member{name: "a.zip", body: zipped(member{name: "b.pkl", body: bad})}))
	add("in_tar.nemo", tarred(tarMember{name: "w.ckpt", body: bad}))
	add("in_tar_gz.nemo", gzipped(tarred(tarMember{name: "w.ckpt", body: bad})))
	add("in_7z.7z", sevenZipped("w.pkl", bad))
	add("handler.mar", zipped(member{name: "MAR-INF/MANIFEST.json", body: []byte("{}")}, member{name: "handler.py", body: []byte("import os\n")}))
	add("torchscript.pt", torchZip(fine, member{name: "m/code/__torch__.py", body: []byte("x = 1\n")}, member{name: "m/constants.pkl", body: fine}))
	add("legacy.pt", legacyTorch(bad, nil))
	add("legacy_tar.pt", tarred(tarMember{name: "sys_info", body: fine}, tarMember{name: "pickle", body: bad}, tarMember{name: "tensors", body: fine}, tarMember{name: "storages", body: fine}))
	add("joblib.z", zlibbed(bad))
	add("joblib.gz", gzipped(bad))

	family = "archive: names and links"
	add("parent.zip", zipped(member{name: "../x.txt", body: []byte("x")}))
	add("inner_parent.zip", zipped(member{name: "a/../../x.txt", body: []byte("x")}))
	add("absolute.zip", zipped(member{name: "/x.txt", body: []byte("x")}))
	add("drive.zip", zipped(member{name: "C:x.txt", body: []byte("x")}))
	add("backslash.zip", zipped(member{name: `..\x.txt`, body: []byte("x")}))
	add("control.zip", zipped(member{name: "a\nb.txt", body: []byte("x")}))
	add("symlink.zip", zipped(member{name: "l", body: []byte("/x"), mode: 0xa1ff}))
	add("device.zip", zipped(member{name: "l", body: []byte("x"), mode: 0x2000}))
	add("parent.tar", tarred(tarMember{name: "../x", body: []byte("x")}))
	add("symlink.tar", tarred(tarMember{name: "l", link: "/x", typ: '2'}))
	add("hardlink.tar", tarred(tarMember{name: "l", link: "../x", typ: '1'}))
	add("device.tar", tarred(tarMember{name: "l", typ: '3'}))
	add("parent.7z", sevenZipped("../x.txt", []byte("x")))

	family = "archive: readers that differ"
	add("duplicate.pt", torchZip(fine, member{name: "m/data.pkl", body: bad}))
	add("duplicate_case.zip", zipped(member{name: "a.pkl", body: fine}, member{name: "A.PKL", body: fine}))
	add("duplicate.tar", tarred(tarMember{name: "a", body: []byte("x")}, tarMember{name: "./a", body: []byte("y")}))
	add("local_name.pt", zipped(member{name: "m/data.pkl", local: "m/date.pkl", body: fine}))
	add("hidden.zip", zipped(member{name: "a.txt", body: []byte("x")}, member{name: "b.pkl", body: bad, gone: true}, member{name: "c.txt", body: []byte("x")}))
	add("crc.pt", zipped(member{name: "m/data.pkl", body: fine, crc: 0xdeadbeef}))
	add("flags.zip", zipped(member{name: "a.txt", body: []byte("x"), flags: 1 << 5}))
	add("encrypted.zip", zipped(member{name: "a.txt", body: []byte("x"), flags: 1}))
	add("pickle_before.pt", cat(bad, torchZip(fine)))
	add("bytes_before.zip", cat("\x00\x00", zipped(member{name: "a.txt", body: []byte("x")})))
	add("zip_after_pickle.pkl", cat(fine, zipped(member{name: "data.pkl", body: bad})))
	add("zip_after_png.png", cat(pngFile, zipped(member{name: "data.pkl", body: bad})))
	add("zip_after_safetensors.safetensors", cat(safetensorsFile(`{}`, 0), torchZip(bad)))
	add("zip_after_npy.npy", cat(npy("'<f8'", "(1,)", make([]byte, 8)), torchZip(bad)))
	add("comment.zip", cat(zipped(member{name: "a.txt", body: []byte("x")}), bad))
	add("truncated.zip", zipped(member{name: "a.pkl", body: fine}, member{name: "b.pkl", body: fine})[:60])
	add("tar_trailing.tar", cat(tarred(tarMember{name: "a.txt", body: []byte("x")}), bad))
	add("gzip_trailing.gz", cat(gzipped([]byte("x")), bad))
	bent := zipped(member{name: "a.txt", body: []byte("x")})
	bent[8]++ // method in the local header alone
	add("local_method.zip", bent)

	family = "archive: bombs"
	all = append(all,
		sample{family: family, name: "ratio.gz", body: gzipped(make([]byte, 64<<20))},
		sample{family: family, name: "ratio.zip", body: zipped(member{name: "zeros.bin", body: make([]byte, 64<<20), pack: true})},
		sample{family: family, name: "members.zip", body: manyMembers(50), limits: Limits{Members: 40}},
		sample{family: family, name: "depth.gz", body: nest(12)},
		sample{family: family, name: "size.gz", body: gzipped([]byte(strings.Repeat("0123456789abcdef", 4096))), limits: Limits{Unpacked: 1000}})
	return all
}

func manyMembers(n int) []byte {
	var m []member
	for i := range n {
		m = append(m, member{name: fmt.Sprintf("%d.txt", i), body: []byte("x")})
	}
	return zipped(m...)
}

func nest(n int) []byte {
	b := []byte("x")
	for range n {
		b = gzipped(b)
	}
	return b
}

// legacyTorch is a file of torch.save before 1.6 with one object and a storage
// "0" of 6 floats; without a tail, the storage is there.
func legacyTorch(object, tail []byte) []byte {
	if tail == nil {
		tail = cat(le(6, 8), make([]byte, 24))
	}
	return cat(whole(2, 0x8a, 10, torchMagic), whole(2, "M", le(1001, 2)), whole(2, "}", text("little_endian"), 0x88, "s"),
		object, whole(2, "]", text("0"), "a"), tail)
}

var pngFile = cat(pngMagic, 0, 0, 0, 13, "IHDR", make([]byte, 17), 0, 0, 0, 0, "IEND", 0xae, 0x42, 0x60, 0x82)

func kerasZip(config string) []byte {
	return zipped(member{name: "metadata.json", body: []byte(`{"keras_version":"3.0.0"}`)}, member{name: "config.json", body: []byte(config)}, member{name: "model.weights.h5", body: hdf5File()})
}

func kerasLayer(module, class, registered string, config any) string {
	return jsonText(map[string]any{"module": "keras", "class_name": "Sequential", "registered_name": nil, "config": map[string]any{
		"layers": []any{map[string]any{"module": module, "class_name": class, "registered_name": registered, "config": config}}}})
}

func evilModels() []sample {
	var all []sample
	family := ""
	add := func(name string, body []byte) { all = append(all, sample{family: family, name: name, body: body}) }

	family = "keras"
	none := map[string]any{}
	lambda := kerasLayer("keras.layers", "Lambda", "", map[string]any{"function": map[string]any{"class_name": "__lambda__", "config": map[string]any{"code": "4wEAAAA="}}})
	for name, config := range map[string]string{
		"lambda":          lambda,
		"module":          kerasLayer("os", "getcwd", "", none), // CVE-2025-1550
		"module_unknown":  kerasLayer("acme", "Layer", "Acme>Layer", none),
		"registered_name": kerasLayer("keras.layers", "Dense", "Acme>Dense", none),
		"fn_module":       kerasLayer("keras.layers", "Dense", "", map[string]any{"fn_module": "acme", "fn_name": "f"}),
		"get_file":        kerasLayer("keras.utils", "get_file", "", map[string]any{"origin": "file:///x"}), // CVE-2025-8747
		"torch_wrapper":   kerasLayer("keras.layers", "TorchModuleWrapper", "", map[string]any{"module": "gAJOLg=="}),
		"unsafe_switch":   kerasLayer("keras.config", "enable_unsafe_deserialization", "", none), // CVE-2025-9906
		"function":        kerasLayer("keras.layers", "Activation", "", map[string]any{"activation": map[string]any{"module": "builtins", "class_name": "function", "config": "acme", "registered_name": "function"}}),
		"function_eval":   kerasLayer("keras.layers", "Activation", "", map[string]any{"activation": map[string]any{"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}}),
		"typespec":        kerasLayer("keras.layers", "Dense", "", map[string]any{"spec": map[string]any{"class_name": "__typespec__", "spec_name": "f", "module": "acme", "registered_name": nil, "serialized": []any{}}}),
		"vocabulary_file": kerasLayer("keras.layers", "StringLookup", "", map[string]any{"vocabulary": "/x"}),
		"tfsm":            kerasLayer("keras.layers", "TFSMLayer", "", map[string]any{"filepath": "x"}),
		"deep":            strings.Repeat(`{"config":`, 300) + `{"class_name":"Dense"}` + strings.Repeat("}", 300),
		"not_json":        `{"class_name": Lambda}`,
		"keras2_unknown":  `{"class_name":"Sequential","config":[{"class_name":"Acme","config":{}}]}`,
		"keras2_lambda":   `{"class_name":"Sequential","config":[{"class_name":"Lambda","config":{}}]}`,
	} {
		add(name+".keras", kerasZip(config))
		add(name+".h5", hdf5File(hdf5Attr("model_config", config)))
	}
	add("training_config.h5", hdf5File(hdf5Attr("model_config", kerasLayer("keras.layers", "Dense", "", none)), hdf5Attr("training_config", `{"loss":{"class_name":"Acme","module":"acme","config":{}}}`)))
	add("architecture.json", []byte(lambda))
	add("external_link.h5", hdf5File(hdf5Link(64, "l", cat(le(6, 2), 0, "o\x00", "/x\x00"))))
	add("external_data.h5", hdf5File(hdf5Msg(0x07, cat(1, 0, 0, 0, le(1, 2), le(1, 2), le(0, 8)))))
	add("pytables_pickle.h5", hdf5File(hdf5Attr("CLASS", string(whole(2, inert)))))
	add("plugin_filter.h5", hdf5File(hdf5Msg(0x0b, cat(2, 1, le(40000, 2), le(0, 2), le(0, 2), le(0, 2)))))
	add("weights_payload.keras", zipped(member{name: "metadata.json", body: []byte("{}")}, member{name: "config.json", body: []byte(kerasLayer("keras.layers", "Dense", "", none))}, member{name: "assets/x.pkl", body: whole(2, inert)}))

	family = "tensorflow"
	for _, op := range []string{"ReadFile", "WriteFile", "MatchingFiles", "MergeV2Checkpoints", "Save", "SaveV2", "RestoreV2", "LoadAndRemapMatrix", "PyFunc", "PyFuncStateless", "EagerPyFunc", "LookupTableImportV2", "InitializeTableFromTextFileV2", "Print", "PrintV2", "Abort", "AcmeCustomOp", "TFRecordDataset", "RpcCall", "DebugIdentityV2"} {
		add(op+".pb", savedModel(tfNodeBytes("n", op)))
		add(op+"_graph.pb", tfNodeBytes("n", op))
		add(op+"_library.pb", savedModel(tfNodeBytes("a", "Const"), pbBytes(2, tfFunction("f", op))))
	}
	add("saver_called_by_model.pb", savedModel(tfCall("s", "f", "saver_filename"), tfCall("m", "f", "x"), pbBytes(2, tfFunction("f", "SaveV2"))))
	add("asset.pb", cat(pbInt(1, 1), pbBytes(2, cat(pbBytes(2, tfNodeBytes("a", "Const")), pbBytes(6, pbText(2, "../../x"))))))
	add("keras_metadata.pb", pbBytes(1, cat(pbInt(2, 0), pbText(5, `{"class_name":"Lambda","config":{}}`))))
	add("object_graph.pb", cat(pbInt(1, 1), pbBytes(2, cat(pbBytes(2, tfNodeBytes("a", "Const")), pbBytes(7, pbBytes(1, pbBytes(4, pbText(3, `{"class_name":"Lambda"}`))))))))
	add("variant.index", bundle(21))
	add("truncated.index", bundle(1)[20:])
	add("truncated.pb", savedModel(tfNodeBytes("n", "Const"))[:20])

	family = "onnx"
	for name, body := range map[string][]byte{
		"absolute":      onnxModel(onnxOutside("/etc/hostname")),
		"parent":        onnxModel(onnxOutside("../x")),
		"inner_parent":  onnxModel(onnxOutside("a/../../x")),
		"backslash":     onnxModel(onnxOutside(`..\x`)),
		"empty":         onnxModel(onnxOutside("")),
		"zero":          onnxModel(onnxOutside("a\x00b")),
		"offset":        onnxModel(onnxOutside("w.bin", onnxPair("offset", "x1"))),
		"custom":        onnxModel(onnxNode("acme", "Op")),
		"unknown":       onnxModel(onnxNode("", "Relu"), onnxNode("", "RunProgram")),
		"unknown_ml":    onnxModel(onnxNode("ai.onnx.ml", "Relu")), // which is in the default domain only
		"python":        onnxModel(onnxNode("com.microsoft", "PythonOp")),
		"context":       onnxModel(onnxNode("com.microsoft", "EPContext")),
		"subgraph":      onnxModel(onnxNode("", "If", pbBytes(5, cat(pbText(1, "then_branch"), pbBytes(6, onnxNode("acme", "Op")))))),
		"subgraph_data": onnxModel(onnxNode("", "If", pbBytes(5, pbBytes(6, onnxOutside("../x"))))),
		"attribute":     onnxModel(onnxNode("", "Constant", pbBytes(5, cat(pbText(1, "value"), pbBytes(5, onnxOutside("../x")[2:]))))),
		"function":      cat(onnxModel(onnxNode("l", "F")), pbBytes(25, cat(pbText(1, "F"), pbText(10, "l"), pbBytes(7, onnxNode("acme", "Op")[2:])))),
		"training":      cat(onnxModel(), pbBytes(20, pbBytes(1, onnxNode("acme", "Op")))),
		"sparse":        onnxModel(pbBytes(15, pbBytes(1, onnxOutside("../x")[2:]))),
		"secret":        cat(onnxModel(), pbBytes(14, cat(pbText(1, "k"), pbText(2, "-----BEGIN RSA PRIVATE KEY-----")))),
		"truncated":     onnxModel(onnxNode("", "Relu"))[:10],
		"deep":          onnxModel(deepGraph(30)),
	} {
		add(name+".onnx", body)
	}
	for name, make := range map[string]func(t *testing.T, dir string){
		"symlink": func(t *testing.T, dir string) {
			try(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("xxxxxxxxxxxxxxxx"), 0o600))
			try(t, os.Symlink("secret", filepath.Join(dir, "w.bin")))
		},
		"parent_symlink": func(t *testing.T, dir string) {
			try(t, os.MkdirAll(filepath.Join(dir, "real"), 0o700))
			try(t, os.WriteFile(filepath.Join(dir, "real", "w.bin"), []byte("xxxxxxxxxxxxxxxx"), 0o600))
			try(t, os.Symlink("real", filepath.Join(dir, "sub")))
			try(t, os.WriteFile(filepath.Join(dir, "m.onnx"), onnxModel(onnxOutside("sub/w.bin")), 0o600))
		},
		"hardlink": func(t *testing.T, dir string) {
			try(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("xxxxxxxxxxxxxxxx"), 0o600))
			try(t, os.Link(filepath.Join(dir, "secret"), filepath.Join(dir, "w.bin")))
		},
		"absent": func(*testing.T, string) {},
		"beyond": func(t *testing.T, dir string) {
			try(t, os.WriteFile(filepath.Join(dir, "w.bin"), []byte("xx"), 0o600))
			try(t, os.WriteFile(filepath.Join(dir, "m.onnx"), onnxModel(onnxOutside("w.bin", onnxPair("offset", "0"), onnxPair("length", "16"))), 0o600))
		},
	} {
		all = append(all, sample{family: family, name: name + ".onnx (folder)", body: onnxModel(onnxOutside("w.bin")), disk: make})
	}
	return all
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deepGraph(n int) []byte {
	b := onnxNode("", "Relu")
	for range n {
		b = onnxNode("", "If", pbBytes(5, pbBytes(6, b)))
	}
	return b
}

func evilData() []sample {
	var all []sample
	family := ""
	add := func(name string, body []byte) { all = append(all, sample{family: family, name: name, body: body}) }

	family = "safetensors"
	const a = `{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	add("header_long.safetensors", safetensorsFile(`{"a":`+a+`}`, 8)[:30])
	add("header_huge.safetensors", cat(le(1<<39, 8), `{"a":`+a+`}`))
	add("duplicate.safetensors", safetensorsFile(`{"a":`+a+`,"a":`+a+`}`, 8))
	add("overlap.safetensors", safetensorsFile(`{"a":`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12))
	add("hole.safetensors", safetensorsFile(`{"a":`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}`, 20))
	add("overflow.safetensors", safetensorsFile(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}`, 0))
	add("negative.safetensors", safetensorsFile(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8))
	add("span.safetensors", safetensorsFile(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8))
	add("dtype.safetensors", safetensorsFile(`{"a":{"dtype":"OBJECT","shape":[2],"data_offsets":[0,8]}}`, 8))
	add("trailing.safetensors", safetensorsFile(`{"a":`+a+`}`, 20))
	add("metadata.safetensors", safetensorsFile(`{"__metadata__":{"k":1},"a":`+a+`}`, 8))
	add("extra_key.safetensors", safetensorsFile(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"loader":"x"}}`, 8))
	add("after_json.safetensors", safetensorsFile(`{"a":`+a+`}{}`, 8))

	family = "gguf"
	t1 := [][]byte{ggufTensor("w", 8, 0, 0)}
	add("counts.gguf", cat("GGUF", le(3, 4), le(1<<60, 8), le(1<<60, 8)))
	add("text_length.gguf", cat("GGUF", le(3, 4), le(0, 8), le(1, 8), le(1<<60, 8), "key"))
	add("array_length.gguf", gguf([][]byte{cat(ggufText("k"), le(9, 4), le(4, 4), le(1<<61, 8))}, nil, 0))
	add("array_nested.gguf", gguf([][]byte{cat(ggufText("k"), le(9, 4), bytes.Repeat(cat(le(9, 4), le(1, 8)), 20), le(4, 4), le(1, 8), le(0, 4))}, nil, 0))
	add("alignment_zero.gguf", gguf([][]byte{ggufUint("general.alignment", 0)}, t1, 32))
	add("alignment_odd.gguf", gguf([][]byte{ggufUint("general.alignment", 24)}, t1, 32))
	add("offset.gguf", gguf(nil, [][]byte{ggufTensor("w", 8, 0, 1<<20)}, 32))
	add("size_overflow.gguf", gguf(nil, [][]byte{cat(ggufText("w"), le(4, 4), bytes.Repeat(le(1<<40, 8), 4), le(0, 4), le(0, 8))}, 32))
	add("type.gguf", gguf(nil, [][]byte{ggufTensor("w", 8, 999, 0)}, 32))
	add("value_type.gguf", gguf([][]byte{cat(ggufText("k"), le(77, 4), le(0, 4))}, nil, 0))
	add("trailing.gguf", cat(gguf(nil, t1, 32), whole(2, inert)))
	add("version.gguf", cat("GGUF", le(99, 4), make([]byte, 16)))
	for name, template := range map[string]string{
		"class":     `{{ ''.__class__.__mro__[1].__subclasses__() }}`,
		"globals":   `{% for m in messages %}{{ cycler.__init__.__globals__ }}{% endfor %}`,
		"attr":      `{{ messages|attr("x") }}`,
		"escape":    `{{ messages["\x5f\x5fclass\x5f\x5f"] }}`,
		"joined":    `{{ messages["_" * 2 ~ "class"] }}`,
		"lipsum":    `{{ lipsum }}`,
		"include":   `{% include "/x" %}`,
		"in_string": `{{ "}}" ~ ''.__class__ }}`,
	} {
		add("template_"+name+".gguf", gguf([][]byte{ggufPair("tokenizer.chat_template", template)}, nil, 0))
		add("template_"+name+"/tokenizer_config.json", []byte(jsonText(map[string]any{"chat_template": template})))
	}

	family = "numpy and joblib"
	add("object.npy", npy("'|O'", "(1,)", whole(3, inert)))
	add("object_field.npy", npy("[('a', '<i4'), ('b', 'O')]", "(1,)", whole(3, inert)))
	add("object_unknown.npy", npy("'|O'", "(1,)", whole(3, call(global("acme", "f")))))
	add("pickle_after.npy", cat(npy("'<f8'", "(1,)", make([]byte, 8)), whole(3, inert)))
	add("second.npy", cat(npy("'<f8'", "(1,)", make([]byte, 8)), npy("'|O'", "(1,)", whole(3, inert))))
	add("header_code.npy", npy("__import__('os')", "(1,)", nil))
	add("header_long.npy", cat("\x93NUMPY", 2, 0, le(1<<31, 4), "{"))
	add("object.npz", zipped(member{name: "a.npy", body: npy("'|O'", "(1,)", whole(3, inert))}))
	add("pickle.npz", zipped(member{name: "a.npy", body: whole(3, inert)}))
	add("after_array.joblib", whole(3, "](", joblibArray(1, make([]byte, 8)), inert, "e"))
	add("object_array.joblib", cat(protoOp(3), bytes.Replace(joblibArray(1, whole(3, inert)), text("f8"), text("O8"), 1), "."))
	add("polyglot.joblib", whole(3, joblibArray(3, cat("0", inert, ".", make([]byte, 24))[:24])))
	add("array_cut.joblib", cat(protoOp(3), joblibArray(200, make([]byte, 16)), "."))
	add("payload.joblib", whole(3, inert))

	family = "text, configuration, code"
	add("python.yaml", []byte("a: !!python/object/apply:os.getcwd []\n"))
	add("python_tag.yaml", []byte("%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.getcwd []\n"))
	add("percent_tag.yaml", []byte("a: !!pyth%6fn/object/apply:os.getcwd []\n"))
	add("split_tag.yaml", []byte("%TAG !p! tag:yaml.org,2002:pyth\n---\na: !p!on/object/apply:os.getcwd []\n"))
	add("root_tag.yaml", []byte("--- !Acme\na: 1\n"))
	add("flow_tag.yaml", []byte("a: [1, !Acme {}]\n"))
	add("escaped_target.json", []byte(`{"\u005ftarget_": "os.getcwd"}`))
	add("escaped_auto_map/config.json", []byte(`{"\u0061uto_map": {"AutoModel": "modeling.Net"}}`))
	add("external_dtd.pmml", []byte(`<?xml version="1.0"?><!DOCTYPE PMML SYSTEM "http://x/y.dtd"><PMML/>`))
	add("include.xml", []byte(`<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/x"/></a>`))
	add("custom_tag.yaml", []byte("model:\n  - !Acme {a: 1}\n"))
	add("hydra.yaml", []byte("model:\n  _target_: os.getcwd\n"))
	add("hydra_unknown.yaml", []byte("model:\n  _target_: acme.models.Net\n"))
	add("hydra.json", []byte(`{"model": {"_target_": "subprocess.run"}}`))
	add("nemo.nemo", tarred(tarMember{name: "model_config.yaml", body: []byte("_target_: builtins.eval\n")}))
	add("xxe.pmml", []byte(`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///x">]><PMML>&x;</PMML>`))
	add("bomb.xml", []byte(`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "x">]><net name="&x;"/>`))
	add("auto_map/config.json", []byte(`{"auto_map": {"AutoModel": "modeling.Net"}}`))
	add("modeling.py", []byte("class Net: pass\n"))
	add("run.sh", []byte("#!/bin/sh\n"))
	add("script_without_name", []byte("#!/usr/bin/env python3\nprint(1)\n"))
	add("text_then_binary.txt", cat(strings.Repeat("text ", 200), 0, 1, 2, inert))
	add("jpeg_then_zip.jpg", cat("\xff\xd8\xff\xe0", make([]byte, 20), "\xff\xd9", zipped(member{name: "a.pkl", body: whole(2, inert)})))
	add("png_trailing.png", cat(pngFile, "x"))
	add("unknown.bin", []byte{0, 1, 2, 3, 4, 5, 6, 7})

	family = "skops"
	node := func(module, class, loader string) []byte {
		return zipped(member{name: "schema.json", body: []byte(jsonText(map[string]any{"__class__": class, "__module__": module, "__loader__": loader, "content": nil}))})
	}
	add("forbidden.skops", node("os", "getcwd", "FunctionNode"))
	add("method.skops", node("builtins", "dict", "MethodNode")) // CVE-2025-54413
	add("operator.skops", node("operator", "methodcaller", "OperatorFuncNode"))
	add("unknown.skops", node("acme", "Model", "ObjectNode"))
	return all
}
