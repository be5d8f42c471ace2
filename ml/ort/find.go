package ort

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Pinned is the release of ONNX Runtime that is fetched and tested against.
// Other releases from 1.16 on are used when found.
const Pinned = "1.30.0"

// NotFoundError is the error of a missing library. It lists where it was
// looked for.
type NotFoundError struct{ Looked []string }

func (e *NotFoundError) Error() string {
	return "find ONNX Runtime: no library in " + strings.Join(e.Looked, ", ") +
		": run 'redoubt runtime fetch', or name one with --ort or REDOUBT_ORT"
}

// Place is one place where the library is looked for.
type Place struct {
	Name string // "flag", "REDOUBT_ORT", "beside the binary", "user cache", "system"
	Path string // file, or a bare name for the system's loader
}

// Places lists where the library is looked for, in order: the explicit path
// alone if there is one, else REDOUBT_ORT alone if it is set, else beside the
// binary, the user's cache, and the system's loader.
func Places(explicit string) []Place {
	if explicit != "" {
		return []Place{{"flag", explicit}}
	}
	if p := os.Getenv("REDOUBT_ORT"); p != "" {
		return []Place{{"REDOUBT_ORT", p}}
	}
	var places []Place
	if exe, err := os.Executable(); err == nil {
		places = append(places, Place{"beside the binary", filepath.Join(filepath.Dir(exe), libraryName())})
	}
	if p, err := CachePath(); err == nil {
		places = append(places, Place{"user cache", p})
	}
	return append(places, Place{"system", libraryName()})
}

// CachePath is where a fetched library is kept: in the user's cache folder,
// or in REDOUBT_CACHE if that is set.
func CachePath() (string, error) {
	dir := os.Getenv("REDOUBT_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the user's cache folder: %w", err)
		}
		dir = filepath.Join(cache, "redoubt")
	}
	return filepath.Join(dir, "onnxruntime", Pinned, libraryName()), nil
}

func libraryName() string {
	switch runtime.GOOS {
	case "darwin":
		return "libonnxruntime.1.dylib"
	case "windows":
		return "onnxruntime.dll"
	}
	return "libonnxruntime.so.1"
}

// Open finds the library (see [Places]) and loads it. A place that was named
// explicitly must work; of the others the first that loads is taken.
func Open(explicit string) (*Runtime, error) {
	var looked []string
	for _, p := range Places(explicit) {
		if p.Name != "system" {
			if _, err := os.Stat(p.Path); errors.Is(err, fs.ErrNotExist) {
				looked = append(looked, p.Path)
				continue
			}
		}
		rt, err := Load(p.Path)
		if err == nil {
			return rt, nil
		}
		if p.Name == "system" {
			looked = append(looked, "the system's libraries")
			continue
		}
		return nil, err
	}
	return nil, &NotFoundError{looked}
}
