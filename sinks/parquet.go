package sinks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("parquet", func() pipe.Sink {
		return &Parquet{Compress: "snappy", Missing: "unknown", MaxColumns: 200, RowGroup: ParquetRowGroup{Rows: 100_000, Bytes: 64 << 20}}
	})
}

// Parquet writes events to Apache Parquet files, each batch to a file of its own.
//
// A Parquet file can be read only once it is whole. So a batch is written under
// another name, forced to the disk and renamed, and confirmed after that: what was
// confirmed survives a loss of power, and no reader meets half a file. A batch that
// failed leaves nothing behind. What a crash leaves are files whose names begin with
// a dot and end in .tmp: nothing in them was confirmed, and they may be deleted. After
// a crash a batch that was just confirmed can be there twice, in another file.
//
// How large files become is the sink's batch option: a file is written when one of
// batch.events, batch.bytes and batch.interval is reached, and when the pipeline
// ends. Without it files have a thousand events; write for example batch: {events:
// 100000, bytes: 64MiB, interval: 1m}. Until then events are in flight, so that
// max_in_flight of the source must allow as many.
//
// Example:
//
//	type: parquet
//	path: lake/orders/day={time:2006-01-02}
//	schema: {id: int64, customer: string, total: double, at: timestamp, items: json}
//	compress: zstd
//	batch: {events: 50000, bytes: 64MiB, interval: 1m}
type Parquet struct {
	// Path is the folder of the files, which is made if it is missing. {field} stands
	// for the value of a field of the event, {meta:key} for its metadata and
	// {time:2006-01-02} for when it was read, in UTC and in Go's layout. Each folder of
	// a batch gets a file: lake/service={service}/day={time:2006-01-02}. A file is named
	// by the time of its first event and a random number.
	Path string `yaml:"path" required:"true"`

	// Schema are the columns in order, each with its type: string, int64, double,
	// boolean, timestamp (RFC 3339 text, or seconds since 1970; kept in microseconds,
	// UTC) or json (any value, as JSON text). A name is the path of a field: user.id.
	// Every column may be null, and is for a field that an event does not have. Other
	// fields are left out. Text that reads as a number or boolean is taken as one. An
	// event with a value that does not fit fails.
	//
	// Without a schema the first batch decides, and later ones add columns for fields
	// that had no value before: whole numbers are int64, others double, objects and
	// lists json, and fields with different kinds of values string. A column never
	// changes its type while the pipeline runs: an event with 1.5 where all numbers of
	// the first batch were whole fails. Write a schema for what is to stay.
	Schema pipe.OrderedMap[ParquetType] `yaml:"schema"`

	// MaxColumns is how many columns there may be without a schema, 1 to 10,000; 200 by
	// default. An event that needs one more fails.
	MaxColumns int `yaml:"max_columns" min:"1" max:"10000"`

	// Compress compresses the columns: snappy (the default), zstd, gzip or none.
	Compress string `yaml:"compress" enum:"snappy,zstd,gzip,none"`

	// RowGroup bounds the row groups of a file, each of which is in memory while it is
	// written.
	RowGroup ParquetRowGroup `yaml:"row_group"`

	// Missing stands in path for a field that an event does not have, or that is no
	// text, number or boolean; "unknown" by default.
	Missing string `yaml:"missing"`

	template *pathTemplate
	columns  columns
	name     []byte
	room     func(*os.File) parquetFile // the file, or in tests one that fails
}

// ParquetRowGroup is the row_group field of the parquet sink.
type ParquetRowGroup struct {
	// Rows is how many rows a row group has at most, 100,000 by default.
	Rows int `yaml:"rows" min:"1" max:"10000000"`

	// Bytes is how many accounted bytes of events a row group has at most, and one
	// event more; 64MiB by default.
	Bytes pipe.Size `yaml:"bytes" min:"1"`
}

// parquetFile is what is written to.
type parquetFile interface {
	Write(p []byte) (int, error)
	Sync() error
	Close() error
}

var parquetCodecs = map[string]compress.Codec{"snappy": &parquet.Snappy, "zstd": &parquet.Zstd, "gzip": &parquet.Gzip, "none": &parquet.Uncompressed}

// Validate checks the fields.
func (s *Parquet) Validate() error {
	var errs []error
	if _, err := parsePathTemplate(s.Path); err != nil {
		errs = append(errs, pipe.Fieldf("path", "%w", err))
	}
	if tamed := tame([]byte(s.Missing), 0); s.Missing == "" || string(tamed) != s.Missing {
		errs = append(errs, pipe.Fieldf("missing", "%q cannot be part of a file name: write a word such as unknown", s.Missing))
	}
	if _, err := newColumns(s.Schema, s.MaxColumns); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Open makes the folder, so that a wrong path shows at the start, unless it is named
// by events.
func (s *Parquet) Open(context.Context, pipe.Env) (err error) {
	if s.template, err = parsePathTemplate(s.Path); err != nil {
		return err
	}
	if s.columns, err = newColumns(s.Schema, s.MaxColumns); err != nil {
		return err
	}
	if s.template.static() {
		return folderError(os.MkdirAll(string(s.template.appendPath(nil, nil, "")), 0o777))
	}
	return nil
}

func folderError(err error) error {
	if err == nil {
		return nil
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("folder %s: %w", pe.Path, pe.Err)
	}
	return err
}

// Write writes a file for each folder of the batch, and returns when they are on the
// disk under their names.
func (s *Parquet) Write(ctx context.Context, in []*pipe.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bad := s.columns.learn(in)
	folders, members := s.sort(in, bad)
	for _, folder := range folders {
		if err := s.writeFile(ctx, folder, in, members[folder], bad); err != nil {
			for _, i := range members[folder] {
				if bad[i] == nil {
					bad[i] = err
				}
			}
		}
	}
	return partial(bad, len(in))
}

// partial makes an error of those of single events.
func partial(bad map[int]error, n int) error {
	if len(bad) == 0 {
		return nil
	}
	var items []pipe.ItemError
	for i := range n {
		if bad[i] != nil {
			items = append(items, pipe.ItemError{Index: i, Err: bad[i]})
		}
	}
	return &pipe.PartialError{Items: items}
}

// sort finds the folder of each event that is not bad.
func (s *Parquet) sort(in []*pipe.Event, bad map[int]error) (folders []string, members map[string][]int) {
	members = map[string][]int{}
	for i, e := range in {
		if bad[i] != nil {
			continue
		}
		s.name = s.template.appendPath(s.name[:0], e, s.Missing)
		if _, known := members[string(s.name)]; !known {
			folders = append(folders, string(s.name))
		}
		members[string(s.name)] = append(members[string(s.name)], i)
	}
	return folders, members
}

// writeFile writes the events with these indexes to a new file of folder. Those that
// the columns cannot take go to bad. With an error nothing is left of the file.
func (s *Parquet) writeFile(ctx context.Context, folder string, in []*pipe.Event, members []int, bad map[int]error) (err error) {
	rows, sizes := s.columns.rows(in, members, bad)
	if len(rows) == 0 {
		return nil
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return pipe.Classed(pipe.Retryable, folderError(err))
	}
	var random [6]byte
	rand.Read(random[:])
	name := in[members[0]].Time().UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(random[:]) + ".parquet"
	temporary := filepath.Join(folder, "."+name+".tmp")
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return pipe.Classed(pipe.Retryable, fmt.Errorf("file %s: %w", temporary, cause(err)))
	}
	var out parquetFile = file
	if s.room != nil {
		out = s.room(file)
	}
	err = s.fill(ctx, out, rows, sizes)
	if err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = os.Rename(temporary, filepath.Join(folder, name))
	}
	if err == nil {
		if err = syncFolder(folder); err != nil { // it is there, but not for certain: a retry writes another
			os.Remove(filepath.Join(folder, name))
		}
	}
	if err == nil {
		return nil
	}
	os.Remove(temporary)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return pipe.Classed(pipe.Retryable, fmt.Errorf("file %s: %w", filepath.Join(folder, name), cause(err)))
}

// fill writes the rows in row groups, and the end of the file.
func (s *Parquet) fill(ctx context.Context, out parquetFile, rows []parquet.Row, sizes []int) error {
	w := parquet.NewGenericWriter[any](out, s.columns.schema(), parquet.Compression(parquetCodecs[s.Compress]), parquet.CreatedBy("pipectl", "1", ""))
	for from := 0; from < len(rows); {
		if err := ctx.Err(); err != nil {
			return err
		}
		to, bytes := from, 0
		for to < len(rows) && to-from < s.RowGroup.Rows && bytes < int(s.RowGroup.Bytes) {
			bytes += sizes[to]
			to++
		}
		for piece := range slices.Chunk(rows[from:to], 1024) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.WriteRows(piece); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		from = to
	}
	return w.Close()
}

// syncFolder forces the names in a folder to the disk.
func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
