package scan

// Format is one kind of file.
type Format struct {
	Name string // as in a report
	Doc  string // one line for people

	// match says cheaply whether a reader of this format would try the bytes.
	match func(*scanner, *source) bool
	// scan adds what it finds to the file. It is called only after match.
	scan func(*scanner, *source, *File)
}

// Formats are all formats. More than one may recognise a file, and then each
// judges it; the first gives it its name. Left out: models that are only
// numbers in formats of their own (TensorFlow Lite, Core ML, OpenVINO's .bin),
// which are unproven until somebody needs them.
var Formats = [...]Format{
	pickleFormat,
	zipFormat,
	tarFormat,
	sevenZipFormat,
	npyFormat,
	hdf5Format,
	safetensorsFormat,
	ggufFormat,
	onnxFormat,
	tensorflowFormat,
	bundleFormat,
	compressedFormat,
	imageFormat,
	textFormat,
}
