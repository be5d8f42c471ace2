package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redoubt-ml/redoubt"
)

// kerasAllowed are the classes that a configuration may name, as module:name,
// and ":name" for configurations of Keras 2, which name no modules.
var kerasAllowed = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, line := range lines("allow/keras.txt") {
		out[line] = true
		_, name, _ := strings.Cut(line, ":")
		out[":"+name] = true
	}
	return out
})

// kerasBad are the classes that hold or fetch code, whatever module they are
// said to be in, with the advisories.
var kerasBad = map[string]string{
	"Lambda":                        "a Lambda layer holds Python code (CVE-2024-3660, CVE-2025-9905)",
	"__lambda__":                    "a serialised function is Python code",
	"TorchModuleWrapper":            "a TorchModuleWrapper holds a pickle (CVE-2025-49655)",
	"TFSMLayer":                     "a TFSMLayer loads another model",
	"JaxLayer":                      "a JaxLayer calls a function of the loading process",
	"FlaxLayer":                     "a FlaxLayer calls a function of the loading process",
	"get_file":                      "get_file fetches a file (CVE-2025-8747)",
	"load_model":                    "load_model loads another model",
	"enable_unsafe_deserialization": "enable_unsafe_deserialization switches the protection off (CVE-2025-9906)",
}

// checkKeras looks at a model's configuration: each object of it that names a
// class is made by the loader (CVE-2025-1550).
func checkKeras(s *scanner, f *File, at int64, config []byte) {
	v, err := decodeJSON(config)
	if err != nil {
		f.unread("keras/config", at, fmt.Errorf("the configuration of the model: %w", err))
		return
	}
	k := &kerasScan{s: s, f: f, at: at}
	k.walk(v, 0)
	if k.classes == 0 {
		f.add(Unproven, redoubt.Medium, "keras/config", at, "the configuration names no class, so it is no model's")
	}
}

func decodeJSON(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows after the JSON value")
	}
	return v, nil
}

type kerasScan struct {
	s       *scanner
	f       *File
	at      int64
	classes int
}

func (k *kerasScan) walk(v any, depth int) {
	if depth > 200 {
		k.f.unread("keras/config", k.at, fmt.Errorf("%w of 200 objects within one another", errLimit))
		return
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			k.walk(e, depth+1)
		}
	case map[string]any:
		k.object(v)
		for _, e := range v {
			k.walk(e, depth+1)
		}
	}
}

func (k *kerasScan) object(v map[string]any) {
	for _, key := range []string{"vocabulary", "vocabulary_file", "idf_weights"} {
		if file, ok := v[key].(string); ok && file != "" {
			k.f.add(Unproven, redoubt.Medium, "keras/file", k.at, "a layer reads the file %q while loading", file)
		}
	}
	if module, ok := v["fn_module"].(string); ok {
		k.f.add(Unsafe, redoubt.Critical, "keras/module", k.at, "a function of module %q is called", module)
	}
	class, ok := v["class_name"].(string)
	if !ok {
		if lambda, ok := v["class_name"]; ok && lambda != nil {
			k.f.add(Unproven, redoubt.Medium, "keras/config", k.at, "a class name is no text")
		}
		return
	}
	k.classes++
	module, _ := v["module"].(string)
	registered, _ := v["registered_name"].(string)
	if class == "function" || class == "builtin_function" {
		name, _ := v["config"].(string)
		k.name(module, name, "", true)
		return
	}
	k.name(module, class, registered, false)
}

// data are the names that stand for plain values.
// "__typespec__" is not among them: it names a module of its own.
var kerasData = map[string]bool{"__keras_tensor__": true, "__tensor__": true, "__numpy__": true, "__bytes__": true, "__ellipsis__": true}

func (k *kerasScan) name(module, class, registered string, function bool) {
	if why := kerasBad[class]; why != "" {
		k.f.add(Unsafe, redoubt.Critical, "keras/code", k.at, "%s", why)
		return
	}
	if why := forbids(module, class); module != "" && why != "" {
		k.f.add(Unsafe, redoubt.Critical, "keras/module", k.at, "the configuration makes %s.%s: %s", module, class, why)
		return
	}
	known := kerasAllowed()[module+":"+class] || kerasData[class]
	if registered != "" && registered != class && !strings.HasPrefix(registered, "keras>") && !strings.HasPrefix(registered, "keras.src>") {
		known = false
	}
	if !known {
		what := "class"
		if function {
			what = "function"
		}
		k.f.add(Unproven, redoubt.Medium, "keras/custom", k.at, "the %s %q of module %q is none of Keras's own", what, class, module)
	}
}

// checkSkops looks at the schema of a skops archive: the classes it makes, and
// the methods it calls, must be on the allow-list for pickles.
func checkSkops(f *File, schema []byte) {
	v, err := decodeJSON(schema)
	if err != nil {
		f.unread("skops/schema", 0, err)
		return
	}
	skopsWalk(f, v, 0)
}

// skopsLoaders are the node types that make plain values and known classes.
var skopsLoaders = map[string]bool{"DictNode": true, "ListNode": true, "SetNode": true, "TupleNode": true, "JsonNode": true, "BytesNode": true,
	"BytearrayNode": true, "SliceNode": true, "NdArrayNode": true, "MaskedArrayNode": true, "RandomStateNode": true, "RandomGeneratorNode": true,
	"DTypeNode": true, "SparseMatrixNode": true, "ObjectNode": true, "TreeNode": true, "TypeNode": true, "LossNode": true, "OrderedDictNode": true, "DefaultDictNode": true, "CachedNode": true}

func skopsWalk(f *File, v any, depth int) {
	if depth > 200 {
		f.unread("skops/schema", 0, fmt.Errorf("%w of 200 objects within one another", errLimit))
		return
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			skopsWalk(f, e, depth+1)
		}
	case map[string]any:
		class, _ := v["__class__"].(string)
		module, _ := v["__module__"].(string)
		loader, isNode := v["__loader__"].(string)
		if isNode {
			switch why := forbids(module, class); {
			case why != "":
				f.add(Unsafe, redoubt.Critical, "skops/forbidden", 0, "reaches %s.%s: %s", module, class, why)
			case !skopsLoaders[loader] || allowed()[module+":"+class] == nil && !skopsPlain[module+":"+class]:
				f.add(Unproven, redoubt.Medium, "skops/unknown", 0, "%s makes %s.%s, which is not on the allow-list", loader, module, class)
			}
		}
		for _, e := range v {
			skopsWalk(f, e, depth+1)
		}
	}
}

var skopsPlain = map[string]bool{"builtins:dict": true, "builtins:list": true, "builtins:set": true, "builtins:tuple": true, "builtins:str": true,
	"builtins:int": true, "builtins:float": true, "builtins:bool": true, "builtins:NoneType": true, "builtins:bytes": true, "builtins:bytearray": true, "builtins:slice": true, "builtins:type": true}
