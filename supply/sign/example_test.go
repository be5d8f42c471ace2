package sign_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redoubt-ml/redoubt/supply/sign"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	model := filepath.Join(dir, "model.onnx")
	if err := os.WriteFile(model, []byte("weights"), 0o644); err != nil {
		panic(err)
	}

	key, err := sign.GenerateKey("p256")
	if err != nil {
		panic(err)
	}
	m, err := sign.Hashing{}.Manifest(ctx, model)
	if err != nil {
		panic(err)
	}
	bundle, err := (&sign.Signer{Key: key}).Sign(m)
	if err != nil {
		panic(err)
	}

	policy := &sign.Policy{Keys: []crypto.PublicKey{key.Public()}}
	v, err := policy.Verify(ctx, model, bundle)
	fmt.Println(err, v.Manifest.Root() == m.Root())

	if err := os.WriteFile(model, []byte("other weights"), 0o644); err != nil {
		panic(err)
	}
	_, err = policy.Verify(ctx, model, bundle)
	fmt.Println(errors.Is(err, sign.Files))
	fmt.Println(err)
	// Output:
	// <nil> true
	// true
	// the model is not what was signed: "model.onnx" is not what was signed
}
