package scan

import "strings"

// remedies say what to do about findings, by the rule or what it begins with.
var remedies = []struct{ rule, remedy string }{
	{"pickle/forbidden", "do not load the file; ask its author for safetensors"},
	{"pickle/rebind", "do not load the file; ask its author for safetensors"},
	{"pickle/nested", "do not load the file; ask its author for safetensors"},
	{"pickle/broken", "get the file again from its source"},
	{"pickle/", "convert the tensors with 'redoubt convert', or have the author save them as safetensors"},
	{"joblib/", "do not load the file; have its author save it again"},
	{"pytorch/", "get the file again from its source"},
	{"torchscript/", "export the model to ONNX, or run it only in a sandbox"},
	{"archive/path", "do not unpack the archive"},
	{"archive/link", "do not unpack the archive"},
	{"archive/", "have its author pack the archive again with ordinary means"},
	{"keras/", "do not load the model; save its weights alone and build the layers in your own code"},
	{"skops/", "look at the types before you trust them"},
	{"tensorflow/", "look at the operation, or export the model to ONNX"},
	{"onnx/external", "keep external data beside the model, as ordinary files"},
	{"onnx/unknown", "check the name and its domain against the export; a newer version of Redoubt knows newer operators"},
	{"onnx/custom", "use the operator library only if its source is known"},
	{"onnx/", "export the model again with standard operators"},
	{"template/", "replace the chat template, and render templates only in a sandbox"},
	{"hdf5/", "save the model again in one file without links"},
	{"yaml/", "read the file with a safe loader only"},
	{"hydra/", "read the targets before the configuration is instantiated"},
	{"xml/", "read the file with a parser that takes no entities"},
	{"transformers/", "load the model without trust in remote code, or read the code first"},
	{"file/program", "read it before you load the model with trust in its code, or delete it"},
	{"file/unknown", "remove it from the model's folder, or convert it into a format that can be checked"},
	{"limit", "raise the limit if the file is known, or get a smaller one"},
	{"", "get the file again from its source, or in another format"},
}

func remedy(rule string) string {
	for _, r := range remedies {
		if strings.HasPrefix(rule, r.rule) {
			return r.remedy
		}
	}
	return ""
}
