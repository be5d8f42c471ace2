package assess

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/redoubt-ml/redoubt/ml/model"
)

// Journal is a file of finished batches, one JSON line each, from which an
// interrupted assessment goes on where it was. A nil Journal keeps nothing.
type Journal struct {
	mu   sync.Mutex
	file *os.File
	done map[string]entry
}

// header says what a journal belongs to.
type header struct {
	Schema string `json:"schema"`
	Key    string `json:"key"`
}

const journalSchema = "redoubt.assess.journal/v1"

type entry struct {
	Stage     string     `json:"stage"`
	Rows      []int      `json:"rows"`
	Fallen    []*Outcome `json:"fallen"`
	Proved    []int      `json:"proved,omitempty"`
	Forwards  int64      `json:"forwards"`
	Gradients int64      `json:"gradients"`
}

// OpenJournal opens or starts a journal. The key names everything that
// decides the outcome (model, data, settings, seed); a journal of another key
// is refused. A last line cut short by a crash is dropped.
func OpenJournal(path, key string) (*Journal, error) {
	j := &Journal{done: map[string]entry{}}
	size, err := j.load(path, key)
	if err != nil {
		return nil, err
	}
	if j.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, fmt.Errorf("resume from %s: %w", path, err)
	}
	if err := errors.Join(j.file.Truncate(size), seekTo(j.file, size)); err != nil {
		return nil, fmt.Errorf("resume from %s: %w", path, err)
	}
	if size == 0 {
		return j, j.write(header{journalSchema, key})
	}
	return j, nil
}

func seekTo(f *os.File, offset int64) error {
	_, err := f.Seek(offset, io.SeekStart)
	return err
}

// load reads the whole lines of a journal and returns where they end.
func (j *Journal) load(path, key string) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("resume from %s: %w", path, err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	var size int64
	for n := 0; ; n++ {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return 0, fmt.Errorf("resume from %s: %w", path, err)
		}
		if n == 0 {
			var h header
			if json.Unmarshal(line, &h) != nil || h.Schema != journalSchema {
				return 0, fmt.Errorf("resume from %s: not a journal of an assessment: name a new file", path)
			}
			if h.Key != key {
				return 0, fmt.Errorf("resume from %s: it belongs to another model, data set or setting: name a new file", path)
			}
		} else {
			var e entry
			if err := json.Unmarshal(line, &e); err != nil {
				return 0, fmt.Errorf("resume from %s: line %d is damaged: delete the file and start again", path, n+1)
			}
			j.done[entryKey(e.Stage, e.Rows)] = e
		}
		size += int64(len(line))
	}
}

func entryKey(stage string, rows []int) string { return fmt.Sprint(stage, rows) }

// find returns a batch that was finished before.
func (j *Journal) find(stage string, rows []int) (fallen []*Outcome, proved []int, t model.Tally, ok bool) {
	if j == nil {
		return nil, nil, model.Tally{}, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.done[entryKey(stage, rows)]
	return e.Fallen, e.Proved, model.Tally{Forwards: e.Forwards, Gradients: e.Gradients}, ok
}

// record enters a finished batch.
func (j *Journal) record(stage string, rows []int, fallen []*Outcome, proved []int, t model.Tally) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.write(entry{stage, slices.Clone(rows), fallen, proved, t.Forwards, t.Gradients})
}

func (j *Journal) write(line any) error {
	b, err := json.Marshal(line)
	if err == nil {
		_, err = j.file.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", j.file.Name(), err)
	}
	return nil
}

// Close closes the file.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
