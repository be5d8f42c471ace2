package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// benign are the layouts that frameworks write, assembled instruction by
// instruction. Those of the real frameworks are made by bench/peers/frameworks.py.
func benign() []sample {
	var all []sample
	family := ""
	add := func(name string, parts ...any) {
		all = append(all, sample{family: family, name: name, body: cat(parts...)})
	}
	ordered := call(global("collections", "OrderedDict"))

	family = "python pickles"
	for p := range 3 {
		head := []byte{}
		if p == 2 {
			head = protoOp(2)
		}
		add(fmt.Sprintf("values_p%d.pkl", p), head, "(lp0\nI1\naI01\naL5L\naF1.5\naS'text'\np1\nag1\naVt\\u00e9xt\naNa(I1\nI2\nta(dp2\nS'k'\nI3\nsa.")
	}
	framed := cat("}", 0x94, "(", shortText("a"), 0x94, "]", 0x94, "(K", 1, "K", 2, "e", shortText("b"), 0x94, 0x8f, 0x94, "(K", 1, 0x90, shortText("c"), 0x94, "(K", 1, 0x91, 0x94, "u.")
	add("values_p4.pkl", protoOp(4), 0x95, le(uint64(len(framed)), 8), framed)
	add("bytes_p5.pkl", protoOp(5), 0x96, le(3, 8), "abcC", 3, "xyz", 0x86, ".")
	add("defaultdict.pkl", whole(2, global("collections", "defaultdict"), global("__builtin__", "list"), 0x85, "R", text("k"), "]K", 1, "as"))
	add("datetime.pkl", whole(4, stackName("datetime", "datetime"), "C", 10, "\x07\xe4\x01\x01\x00\x00\x00\x00\x00\x00", 0x85, "R"))
	add("namespace.pkl", whole(2, global("argparse", "Namespace"), ")", 0x81, "}", text("lr"), "G", make([]byte, 8), "sb"))
	add("reconstructor_p0.pkl", "ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR(dS'a'\nI1\nsb.")
	add("stacked.pkl", whole(2, "K", 1), whole(2, "K", 2))
	add("deque.pkl", whole(2, call(global("collections", "deque"), ")", "K", 5), "(K", 1, "e"))

	family = "numpy"
	add("array.pkl", whole(2, numpyArray(3)))
	add("arrays.pkl", whole(3, "}(", text("a"), numpyArray(3), text("b"), numpyArray(5), "u"))
	add("scalar.pkl", whole(3, call(global("numpy.core.multiarray", "scalar"), numpyDtype("f8"), blob(make([]byte, 8)))))
	add("array.npy", npy("'<f8'", "(2, 3)", make([]byte, 48)))
	add("record.npy", npy("[('a', '<i4'), ('b', '<f8', (2,))]", "(2,)", make([]byte, 40)))
	add("objects.npy", npy("'|O'", "(1,)", whole(3, "]", text("a"), "a")))
	add("arrays.npz", zipped(member{name: "x.npy", body: npy("'<f4'", "(3,)", make([]byte, 12))}, member{name: "y.npy", body: npy("'<i8'", "(3,)", make([]byte, 24)), pack: true}))

	family = "scikit-learn and joblib"
	model := cat(global("sklearn.linear_model._logistic", "LogisticRegression"), ")", 0x81, "}(",
		text("C"), "G", make([]byte, 8), text("coef_"), numpyArray(4), text("_sklearn_version"), text("1.9.1"), "ub")
	add("model.pkl", whole(2, model))
	add("pipeline.pkl", whole(4, stackName("sklearn.pipeline", "Pipeline"), ")", 0x81, "}(", text("steps"), "](", text("m"), model, 0x86, "eub"))
	tree := cat(call(global("sklearn.tree._tree", "Tree"), "K", 4, numpyArray(1), "K", 1), "}(", text("max_depth"), "K", 2, text("nodes"), numpyArray(2), "ub")
	add("tree.pkl", whole(2, tree))
	add("model.joblib", whole(4, "}", text("coef"), joblibArray(3, make([]byte, 24)), "s"))
	add("model.joblib.z", zlibbed(whole(4, "}", text("coef"), joblibArray(3, make([]byte, 24)), "s")))
	add("model.joblib.gz", gzipped(whole(4, model)))

	family = "pytorch"
	state := whole(2, ordered, "(", text("w"), torchTensor(), "u", "}", text("_metadata"), ordered, "sb")
	add("state.pt", torchZip(state))
	add("state.bin", torchZip(state, member{name: "m/byteorder", body: []byte("little")}, member{name: "m/.data/serialization_id", body: []byte("0123456789")}))
	add("parameter.pt", torchZip(whole(2, call(global("torch._utils", "_rebuild_parameter"), torchTensor(), 0x88, ordered))))
	add("checkpoint.ckpt", torchZip(whole(2, "}(", text("epoch"), "K", 3, text("state_dict"), ordered, text("optimizer"), "}", text("device"), call(global("torch", "device"), text("cpu")), "u")))
	add("network.pt", torchZip(whole(2, global("torch.nn.modules.linear", "Linear"), ")", 0x81, "}(", text("training"), 0x88, text("_parameters"), "}", "ub")))
	add("legacy.pt", legacyTorch(whole(2, bytesOf(torchTensor())), nil))

	family = "boosting"
	add("xgboost.pkl", whole(4, stackName("xgboost.core", "Booster"), ")", 0x81, "}", text("handle"), 0x96, le(4, 8), "{L\x00\x00", "sb"))
	add("lightgbm.pkl", whole(4, stackName("lightgbm.basic", "Booster"), ")", 0x81, "}", text("handle"), text("tree\nversion=v4\n"), "sb"))
	add("lightgbm.txt", "tree\nversion=v4\nnum_class=1\n")
	add("xgboost.json", `{"learner":{"gradient_booster":{"model":{}}},"version":[3,0,0]}`)

	family = "keras"
	dense := kerasLayer("keras.layers", "Dense", "", map[string]any{"units": 3, "activation": "relu",
		"kernel_initializer": map[string]any{"module": "keras.initializers", "class_name": "GlorotUniform", "config": map[string]any{"seed": nil}, "registered_name": nil}})
	add("model.keras", kerasZip(dense))
	add("model.h5", hdf5File(hdf5Attr("model_config", dense), hdf5Attr("keras_version", "3.0.0"), hdf5Attr("backend", "tensorflow")))
	add("keras2.h5", hdf5File(hdf5Attr("model_config", `{"class_name":"Sequential","config":[{"class_name":"Dense","config":{}}]}`)))
	add("weights.h5", hdf5File(hdf5Attr("layer_names", "dense")))

	family = "tensorflow"
	add("saved_model.pb", savedModel(tfNodeBytes("x", "Placeholder"), tfNodeBytes("y", "Relu", "x"), tfCall("p", "f", "x"), pbBytes(2, tfFunction("f", "MatMul"))))
	add("saved_model_saver.pb", savedModel(tfNodeBytes("saver_filename", "Placeholder"), tfCall("s", "save", "saver_filename"), tfCall("r", "restore", "saver_filename"),
		pbBytes(2, cat(tfFunction("save", "SaveV2"), tfFunction("restore", "RestoreV2")))))
	add("variables.index", bundle(1))
	add("frozen.pb", tfNodeBytes("x", "Placeholder"), tfNodeBytes("y", "Softmax", "x"))

	family = "onnx"
	add("model.onnx", onnxModel(onnxNode("", "Relu"), onnxNode("ai.onnx", "Upsample"), onnxNode("", "ImageScaler"), onnxNode("ai.onnx.ml", "TreeEnsembleClassifier"), onnxNode("com.microsoft", "Gelu")))
	add("functions.onnx", cat(onnxModel(onnxNode("local", "F")), pbBytes(25, cat(pbText(1, "F"), pbText(10, "local"), pbBytes(7, onnxNode("", "Relu")[2:])))))
	all = append(all, sample{family: family, name: "external.onnx (folder)", body: onnxModel(onnxOutside("w.bin", onnxPair("offset", "0"), onnxPair("length", "16"))), disk: func(t *testing.T, dir string) {
		try(t, os.WriteFile(filepath.Join(dir, "w.bin"), cat(1, 2, 3, make([]byte, 13)), 0o600))
	}})

	family = "safetensors and gguf"
	add("model.safetensors", safetensorsFile(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"e":{"dtype":"F32","shape":[0],"data_offsets":[10,10]}}`, 10))
	chat := `{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] | trim }}{% endif %}{% set ns = namespace(found=false) %}{% endfor %}{% if add_generation_prompt %}{{ raise_exception('no') }}{% endif %}`
	add("model.gguf", gguf([][]byte{ggufPair("general.architecture", "llama"), ggufPair("tokenizer.chat_template", chat), ggufUint("general.alignment", 32)},
		[][]byte{ggufTensor("w", 8, 0, 0), ggufTensor("q", 32, 2, 32)}, 64))
	add("tokenizer_config.json", jsonText(map[string]any{"chat_template": chat}))

	family = "what lies beside models"
	add("README.md", "# A model\n\nclassification of digits, `import os` is only text.\n")
	add("config.json", `{"architectures": ["BertModel"], "hidden_size": 768}`)
	add("vocab.txt", "[PAD]\n[UNK]\nthe\ncat\n")
	add("merges.txt", "#version: 0.2\nt h\nth e\n")
	add("labels.csv", "id,name\n1,cat\n2,dog\n")
	add("config.yaml", "model:\n  layers: [1, 2]\n  name: net\n  note: it works! really\n  size: !!int 3\n")
	add("page.html", "<!DOCTYPE html>\n<html><body>not !!important</body></html>\n")
	add("vocab.json", `{"\u0120the": 1, "\u00e9": 2, "\u003cs\u003e": 3}`)
	add("LICENSE", "copyright\nnotice\n")
	add("model.pmml", `<?xml version="1.0"?><PMML version="4.4"><Header/></PMML>`)
	add("logo.png", pngFile)
	add("photo.jpg", "\xff\xd8\xff\xe0\x00\x10JFIF\x00\xff\xd9")
	add("empty.txt")
	add("crlf.txt", "(important\r\nnote)\r\n")
	add("unicode.txt", strings.Repeat("Größe und Übung, 模型. ", 9000))

	family = "archives"
	add("release.tar.gz", gzipped(tarred(tarMember{name: "model/README.md", body: []byte("# A model\n")}, tarMember{name: "model/w.npy", body: npy("'<f8'", "(1,)", make([]byte, 8))})))
	add("release.zip", zipped(member{name: "a/", body: nil}, member{name: "a/w.safetensors", body: safetensorsFile(`{}`, 0)}, member{name: "a/README.md", body: []byte("text text text text"), pack: true}))
	add("release.7z", sevenZipped("README.md", []byte("# A model\n")))
	return all
}

func bytesOf(parts ...any) []byte { return cat(parts...) }
