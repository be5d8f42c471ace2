// Package beam adds up what package release publishes on Apache Beam: on Dataflow,
// on Flink or Spark with their job servers, or on this machine. It is a module of
// its own, so that those who do not use Beam do not carry it.
//
//	p, s := beam.NewPipelineWithRoot()
//	rows := beam.ParDo(s, toRow, textio.Read(s, "gs://bucket/visits-*.csv")) // PCollection<dpbeam.Row>
//	state := dpbeam.Aggregate(s, query, rows, 64)                            // PCollection<[]byte>
//	dpbeam.Write(s, state, "visits.state")
//
// The pipeline draws no noise and knows no ledger. It leaves one partial state, as
// secret as the data, which one place releases, once:
//
//	redoubt dp release visits.yaml --merge visits.state --ledger budgets.db
//
// Workers may fail and start again: a state depends on the rows alone, but for
// which rows are kept of people who have too many, which is drawn afresh.
package beam

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/redoubt-ml/redoubt/privacy/dp/release"
)

// Row is one row: its fields in the order of [release.Columns].
type Row struct{ Fields []string }

// Beam finds functions and types by name on its workers, which is why they are
// registered here, in init, as its SDK has it.
func init() {
	beam.RegisterType(reflect.TypeFor[Row]())
	register.DoFn2x0[Row, func(int64, Row)](&shard{})
	register.Emitter2[int64, Row]()
	register.DoFn3x2[context.Context, int64, func(*Row) bool, []byte, error](&add{})
	register.Iter1[Row]()
	register.Combiner1[[]byte](&merge{})
	register.DoFn2x1[context.Context, []byte, error](&write{})
	register.Function2x0(seed)
}

// Aggregate bounds what each person contributes and adds it up. The query is the
// text of a query file; it is checked here, and a wrong one panics, as wrong
// pipelines do. Shards is among how many workers people are divided, 1 to 1024.
func Aggregate(s beam.Scope, query string, rows beam.PCollection, shards int) beam.PCollection {
	if _, err := release.Parse([]byte(query)); err != nil {
		panic(fmt.Errorf("aggregate: %w", err))
	}
	if shards < 1 || shards > 1024 {
		panic(fmt.Errorf("aggregate: %d shards: must be between 1 and 1024", shards))
	}
	s = s.Scope("redoubt.Aggregate")
	numbers := make([]int64, shards)
	for i := range numbers {
		numbers[i] = int64(i)
	}
	// A shard that nobody falls into must have a state too: the release asks for
	// all of them.
	empty := beam.ParDo(s, seed, beam.CreateList(s, numbers))
	keyed := beam.Flatten(s, beam.ParDo(s, &shard{Shards: shards}, rows), empty)
	states := beam.ParDo(s, &add{Query: query, Shards: shards}, beam.GroupByKey(s, keyed))
	return beam.Combine(s, &merge{Query: query}, states)
}

// Write writes the state to a file of the worker's machine, for its owner only.
func Write(s beam.Scope, state beam.PCollection, path string) {
	beam.ParDo0(s.Scope("redoubt.Write"), &write{Path: path}, state)
}

func seed(number int64, emit func(int64, Row)) { emit(number, Row{}) }

// shard keys rows by where their people fall.
type shard struct{ Shards int }

// ProcessElement keys a row; one without a person counts for nobody.
func (f *shard) ProcessElement(r Row, emit func(int64, Row)) {
	if len(r.Fields) > 0 && r.Fields[0] != "" {
		emit(int64(release.ShardOf(r.Fields[0], f.Shards)), r)
	}
}

// add makes the state of a shard.
type add struct {
	Query  string
	Shards int
}

// ProcessElement adds up a shard's rows.
func (f *add) ProcessElement(ctx context.Context, number int64, rows func(*Row) bool) ([]byte, error) {
	q, err := release.Parse([]byte(f.Query))
	if err != nil {
		return nil, err
	}
	s, err := release.AggregateRows(ctx, q, fields(rows), release.Options{Shard: int(number), Shards: f.Shards, Workers: 1})
	if err != nil {
		return nil, err
	}
	return s.MarshalBinary()
}

func fields(rows func(*Row) bool) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		var r Row
		for rows(&r) && yield(r.Fields) {
		}
	}
}

// merge makes one state of many. An empty accumulator is no state.
type merge struct{ Query string }

// MergeAccumulators merges two states.
func (f *merge) MergeAccumulators(a, b []byte) ([]byte, error) {
	if len(a) == 0 || len(b) == 0 {
		return append(a, b...), nil
	}
	q, err := release.Parse([]byte(f.Query))
	if err != nil {
		return nil, err
	}
	s, err := release.ReadState(q, a)
	o, err2 := release.ReadState(q, b)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	if err := s.Merge(o); err != nil {
		return nil, err
	}
	return s.MarshalBinary()
}

// write writes beside and renames.
type write struct{ Path string }

// ProcessElement writes the one state.
func (f *write) ProcessElement(_ context.Context, state []byte) error {
	t, err := os.CreateTemp(filepath.Dir(f.Path), ".state-*") // for its owner only
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) // fails after the rename, as it should
	if _, err := t.Write(state); err != nil {
		return errors.Join(err, t.Close())
	}
	if err := t.Close(); err != nil {
		return err
	}
	return os.Rename(t.Name(), f.Path)
}
