package data

import (
	"fmt"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// cifarRecord is one image of the CIFAR-10 binary version: a label byte and
// the red, green and blue planes of 32x32 pixels.
const cifarRecord = 1 + 3*32*32

func openCIFAR(src *source, paths []string, _ Options) (*Set, error) {
	b, err := src.unpacked(paths[0])
	if err != nil {
		return nil, err
	}
	return decodeCIFAR(b, src.limits)
}

func decodeCIFAR(b []byte, limits Limits) (*Set, error) {
	n := len(b) / cifarRecord
	if n == 0 || len(b)%cifarRecord != 0 {
		return nil, fmt.Errorf("%d bytes are not whole records of %d; only the CIFAR-10 binary version is known as .bin",
			len(b), cifarRecord)
	}
	if _, err := limits.elements(int64(n), cifarRecord-1); err != nil {
		return nil, err
	}
	set := &Set{X: tensor.New(n, 3, 32, 32), Y: make([]int, n), Layout: CHW, Classes: []string{
		"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}}
	for i := range n {
		record := b[i*cifarRecord : (i+1)*cifarRecord]
		set.Y[i] = int(record[0])
		row := set.X.Row(i)
		for j, v := range record[1:] {
			row[j] = float32(v)
		}
	}
	set.scaleBytes()
	return set, nil
}
