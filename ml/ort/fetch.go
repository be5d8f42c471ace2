package ort

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// The npm package that carries the library for every system, and the digest
// the registry publishes for it.
const (
	npmPackage   = "onnxruntime-node@" + Pinned
	npmIntegrity = "sha512-twhs1C2C/BFkz1yc5OY0KIU2GUq6DURO7hD4bx5Q2Qy3nAMJwRXW8xU3NVczE29VA9lolLOYepoD8fjTGOfIqw=="

	maxArchive = 512 << 20
	maxLibrary = 256 << 20
)

// Fetch puts the pinned library into the user's cache and returns its path.
// The package archive is read from a file, or with from == "" downloaded by
// the npm client; either must have the pinned SHA-512. Only the one file for
// this system is taken out of it, and it appears in the cache whole or not at
// all. A library that is in the cache already is left alone.
func Fetch(ctx context.Context, from string) (string, error) {
	dst, err := CachePath()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dst); err == nil {
		return dst, nil
	}
	if from == "" {
		dir, err := os.MkdirTemp("", "redoubt-fetch-")
		if err != nil {
			return "", fmt.Errorf("fetch ONNX Runtime: %w", err)
		}
		defer os.RemoveAll(dir)
		if from, err = npmPack(ctx, dir); err != nil {
			return "", err
		}
	}
	archive, err := readPinned(from)
	if err != nil {
		return "", err
	}
	lib, err := extract(archive)
	if err != nil {
		return "", fmt.Errorf("fetch ONNX Runtime from %s: %w", from, err)
	}
	if err := writeWhole(dst, lib); err != nil {
		return "", fmt.Errorf("fetch ONNX Runtime: %w", err)
	}
	return dst, nil
}

func npmPack(ctx context.Context, dir string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("fetch ONNX Runtime: the npm client is not installed: install npm, or bring the archive of " +
			npmPackage + " and give it with --from")
	}
	cmd := exec.CommandContext(ctx, npm, "pack", "--silent", "--pack-destination", dir, npmPackage)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("fetch ONNX Runtime: npm pack %s: %w: %s", npmPackage, err, bytes.TrimSpace(out))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("fetch ONNX Runtime: npm pack left %d archives, want one", len(files))
	}
	return files[0], nil
}

// readPinned reads an archive and refuses any but the pinned one.
func readPinned(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("fetch ONNX Runtime: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxArchive+1))
	if err != nil {
		return nil, fmt.Errorf("fetch ONNX Runtime: read %s: %w", path, err)
	}
	sum := sha512.Sum512(b)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != npmIntegrity {
		return nil, fmt.Errorf("fetch ONNX Runtime: %s is not the archive of %s: its digest is %s, want %s",
			path, npmPackage, got, npmIntegrity)
	}
	return b, nil
}

// extract takes this system's library out of the package archive.
func extract(archive []byte) ([]byte, error) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	system := map[string]string{"windows": "win32"}[runtime.GOOS]
	if system == "" {
		system = runtime.GOOS
	}
	want := "package/bin/napi-v6/" + system + "/" + arch + "/" + libraryName()
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("the package has no library for %s/%s: build ONNX Runtime and name it with --ort",
				runtime.GOOS, runtime.GOARCH)
		}
		if err != nil {
			return nil, err
		}
		if h.Name == want && h.Typeflag == tar.TypeReg {
			if h.Size > maxLibrary {
				return nil, fmt.Errorf("%s is larger than %d bytes", want, maxLibrary)
			}
			return io.ReadAll(tr)
		}
	}
}

func writeWhole(dst string, b []byte) error {
	dir := filepath.Dir(dst)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".fetch-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already once it is renamed
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o755); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), dst)
}
