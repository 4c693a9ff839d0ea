package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

// readParquet reads every file below dir, in order of names: a list of columns and
// the rows as text, each value as name=value.
func readParquet(t testing.TB, path string) (names, rows []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, c := range f.Schema().Columns() {
		names = append(names, strings.Join(c, "."))
	}
	r := parquet.NewGenericReader[any](f)
	defer r.Close()
	buf := make([]parquet.Row, 100)
	for {
		n, err := r.ReadRows(buf)
		for _, row := range buf[:n] {
			var text []string
			for _, v := range row {
				if !v.IsNull() {
					text = append(text, names[v.Column()]+"="+v.String())
				}
			}
			rows = append(rows, strings.Join(text, " "))
		}
		if err == io.EOF {
			return names, rows
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

// parquetFiles returns the files below dir; hidden ones fail the test.
func parquetFiles(t testing.TB, dir string) (paths []string) {
	t.Helper()
	for name := range contents(t, dir) {
		if strings.HasPrefix(filepath.Base(name), ".") {
			t.Errorf("%s was left behind", name)
			continue
		}
		paths = append(paths, filepath.Join(dir, name))
	}
	slices.SortFunc(paths, func(a, b string) int {
		x, _ := os.Stat(a)
		y, _ := os.Stat(b)
		return x.ModTime().Compare(y.ModTime())
	})
	return paths
}

func newParquet(t testing.TB, set func(*Parquet)) *Parquet {
	t.Helper()
	return fresh(t, "parquet", func(s *Parquet) {
		s.Path = filepath.Join(t.TempDir(), "lake")
		if set != nil {
			set(s)
		}
	})
}

// openParquet opens a sink that has nothing to close.
func openParquet(t testing.TB, s *Parquet) {
	t.Helper()
	if err := s.Open(context.Background(), pipetest.Env()); err != nil {
		t.Fatal(err)
	}
}

// columnsOf makes a schema of pairs of a name and a type.
func columnsOf(pairs ...string) (schema pipe.OrderedMap[ParquetType]) {
	for i := 0; i < len(pairs); i += 2 {
		schema = append(schema, pipe.Pair[ParquetType]{Key: pairs[i], Value: ParquetType(pairs[i+1])})
	}
	return schema
}

// fullDisk is a file on a disk that is full at the moment.
type fullDisk struct {
	*os.File
	full *bool
	room int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	if *d.full && len(p) > d.room {
		n, _ := d.File.Write(p[:d.room])
		return n, &os.PathError{Op: "write", Path: d.Name(), Err: syscall.ENOSPC}
	}
	return d.File.Write(p)
}

func TestParquetConformance(t *testing.T) {
	f := func(name string, set func(*Parquet)) {
		t.Run(name, func(t *testing.T) {
			full := false
			pipetest.Sink(t, pipetest.SinkCase{
				New: func(t *testing.T) pipe.Sink {
					s := newParquet(t, set)
					s.room = func(f *os.File) parquetFile { return &fullDisk{f, &full, 10} }
					return s
				},
				Written: func(t *testing.T, sink pipe.Sink) (lines []string) {
					for _, path := range parquetFiles(t, sink.(*Parquet).Path) {
						_, rows := readParquet(t, path)
						for _, row := range rows {
							lines = append(lines, strings.TrimPrefix(row, "message="))
						}
					}
					return lines
				},
				Break: func(*testing.T, pipe.Sink) func() {
					full = true
					return sync.OnceFunc(func() { full = false })
				},
				TakesBack: true,
				Poison: func() record.Body {
					var a record.Arena
					body, _ := record.FromJSON([]byte(`{"message":{"not":"text"}}`), &a)
					return body
				},
			})
		})
	}
	f("snappy", func(s *Parquet) { s.Schema = columnsOf("message", "string") })
	f("zstd", func(s *Parquet) { s.Compress, s.Schema = "zstd", columnsOf("message", "string") })
	f("small row groups", func(s *Parquet) {
		s.Compress, s.Schema, s.RowGroup = "none", columnsOf("message", "string"), ParquetRowGroup{Rows: 7, Bytes: 3000}
	})
}

func TestParquetSchema(t *testing.T) {
	s := newParquet(t, func(s *Parquet) {
		s.Schema = columnsOf("z", "int64", "a", "double", "ok", "boolean", "user.name", "string", "at", "timestamp", "rest", "json")
	})
	openParquet(t, s)
	write(t, s, `{"z":1,"a":2,"ok":true,"user":{"name":"Ann \u00e9"},"at":"2026-03-01T12:00:00.5+01:00","rest":{"x":[1,null]},"unknown":5}`,
		`{"z":"-7","a":"1e3","ok":"false","user":{"name":12},"at":1772366400,"rest":"text"}`,
		`{"z":null,"at":1.5}`, `{}`)
	paths := parquetFiles(t, s.Path)
	if len(paths) != 1 {
		t.Fatalf("got files %q, want one", paths)
	}
	names, rows := readParquet(t, paths[0])
	if want := []string{"z", "a", "ok", "user.name", "at", "rest"}; !slices.Equal(names, want) {
		t.Errorf("got columns %q, want %q", names, want)
	}
	want := []string{`z=1 a=2 ok=true user.name=Ann é at=1772362800500000 rest={"x":[1,null]}`,
		`z=-7 a=1000 ok=false user.name=12 at=1772366400000000 rest="text"`, `at=1500000`, ``}
	if !slices.Equal(rows, want) {
		t.Errorf("got rows %q, want %q", rows, want)
	}
	err := s.Write(t.Context(), batch(t, `{"z":1.5}`, `{"z":1}`, `{"ok":1}`, `{"user":{"name":[]}}`, `{"at":"noon"}`, `{"a":"x"}`, `{"z":"1 "}`))
	var part *pipe.PartialError
	if !errors.As(err, &part) || len(part.Items) != 6 {
		t.Fatalf("got %v, want all but one to fail", err)
	}
	for i, want := range []string{"column z: 1.5 is no int64", "column ok: 1 is no boolean", "column user.name: [] is no string", `column at: "noon" is no timestamp`, `column a: "x" is no double`, `column z: "1 " is no int64`} {
		wantError(t, part.Items[i].Err, pipe.Poison, want)
	}
	anotherReader(t, paths[0], 4)
}

// anotherReader counts the rows with what is installed beside our own library.
func anotherReader(t *testing.T, path string, rows int) {
	t.Helper()
	query := fmt.Sprintf("SELECT count(*) FROM read_parquet('%s')", path)
	for _, cmd := range [][]string{{"duckdb", "-noheader", "-list", "-c", query},
		{"python3", "-c", "import sys, pyarrow.parquet as p; print(p.read_table(sys.argv[1]).num_rows)", path}} {
		if _, err := exec.LookPath(cmd[0]); err != nil {
			continue
		}
		if cmd[0] == "python3" && exec.Command("python3", "-c", "import pyarrow").Run() != nil {
			continue
		}
		out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != fmt.Sprint(rows) {
			t.Errorf("%s reads %s, %v, want %d rows", cmd[0], out, err, rows)
		}
		return
	}
	t.Log("neither duckdb nor pyarrow is installed: only our own library has read the file")
}

func TestParquetLearns(t *testing.T) {
	s := newParquet(t, func(s *Parquet) { s.MaxColumns = 8 })
	openParquet(t, s)
	write(t, s, `{"n":1,"x":1,"nothing":null,"b":true}`, `{"n":2,"x":1.5,"mix":1,"o":{"k":1}}`, `{"mix":"one","o":7}`)
	err := s.Write(t.Context(), batch(t, `{"nothing":"something","n":3}`, `{"n":1.5}`, `{"A":1,"a":2,"c":3}`, `{"n":4}`))
	var part *pipe.PartialError
	if !errors.As(err, &part) || len(part.Items) != 2 || part.Items[0].Index != 1 || part.Items[1].Index != 2 {
		t.Fatalf("got %v, want failures of events 1 and 2", err)
	}
	wantError(t, part.Items[0].Err, pipe.Poison, "column n: 1.5 is no int64")
	wantError(t, part.Items[1].Err, pipe.Poison, `"c"`, "max_columns (8)")
	paths := parquetFiles(t, s.Path)
	f := func(path, names string, rows ...string) {
		t.Helper()
		n, r := readParquet(t, path)
		if strings.Join(n, " ") != names || !slices.Equal(r, rows) {
			t.Errorf("got columns %q with %q, want %q with %q", n, r, names, rows)
		}
	}
	f(paths[0], "n x b mix o", "n=1 x=1 b=true", `n=2 x=1.5 mix=1 o={"k":1}`, "mix=one o=7")
	f(paths[1], "n x b mix o nothing A a", "n=3 nothing=something", "n=4")
}

func TestParquetNothingToLearn(t *testing.T) {
	s := newParquet(t, nil)
	openParquet(t, s)
	wantError(t, s.Write(t.Context(), batch(t, `{}`)).(*pipe.PartialError).Items[0].Err, pipe.Poison, "no field with a value")
	write(t, s, `{"a":1}`, `{}`)
	if err := s.Write(t.Context(), batch(t, `{"":1}`)); err == nil {
		t.Error("a column without a name was written")
	}
}

func TestParquetPartitions(t *testing.T) {
	s := newParquet(t, nil)
	root := s.Path
	s.Path = filepath.Join(root, "service={service}", "day={time:2006-01-02}")
	openParquet(t, s)
	write(t, s, `{"service":"web","n":1}`, `{"service":"../db","n":2}`, `{"n":3}`, `{"service":"web","n":4}`)
	var got []string
	for _, path := range parquetFiles(t, root) {
		_, rows := readParquet(t, path)
		name, _ := filepath.Rel(root, filepath.Dir(path))
		got = append(got, name+": "+strings.Join(rows, ", "))
		if base := filepath.Base(path); !strings.HasPrefix(base, "20260301T233000Z-") || !strings.HasSuffix(base, ".parquet") {
			t.Errorf("the file is named %s", base)
		}
	}
	slices.Sort(got)
	want := []string{"service=.._db/day=2026-03-01: n=2 service=../db", "service=unknown/day=2026-03-01: n=3", "service=web/day=2026-03-01: service=web n=1, service=web n=4"}
	for i := range want {
		want[i] = strings.Replace(want[i], "n=2 service=../db", "service=../db n=2", 1)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParquetRowGroups(t *testing.T) {
	f := func(g ParquetRowGroup, want ...int64) {
		t.Helper()
		s := newParquet(t, func(s *Parquet) { s.RowGroup = g })
		openParquet(t, s)
		write(t, s, numbered(0, 10)...)
		file, err := os.Open(parquetFiles(t, s.Path)[0])
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		info, _ := file.Stat()
		p, err := parquet.OpenFile(file, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, g := range p.RowGroups() {
			got = append(got, g.NumRows())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got row groups of %v, want %v", g, got, want)
		}
	}
	f(ParquetRowGroup{Rows: 100, Bytes: 1 << 20}, 10)
	f(ParquetRowGroup{Rows: 4, Bytes: 1 << 20}, 4, 4, 2)
	size := batch(t, numbered(0, 1)...)[0].Size()
	f(ParquetRowGroup{Rows: 100, Bytes: pipe.Size(3 * size)}, 3, 3, 3, 1)
}

// TestParquetFolderFails fails one folder of two: the events of the other are written.
func TestParquetFolderFails(t *testing.T) {
	s := newParquet(t, nil)
	root := s.Path
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Path = filepath.Join(root, "{service}")
	openParquet(t, s)
	if err := os.WriteFile(filepath.Join(root, "db"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := s.Write(t.Context(), batch(t, `{"service":"web"}`, `{"service":"db"}`))
	var part *pipe.PartialError
	if !errors.As(err, &part) || len(part.Items) != 1 || part.Items[0].Index != 1 {
		t.Fatalf("got %v, want a failure of event 1", err)
	}
	wantError(t, part.Items[0].Err, pipe.Retryable, filepath.Join(root, "db"), "not a directory")
	if n := len(parquetFiles(t, filepath.Join(root, "web"))); n != 1 {
		t.Errorf("got %d files for web", n)
	}
}

// TestParquetCancelled leaves nothing of a file that was not finished.
func TestParquetCancelled(t *testing.T) {
	s := newParquet(t, func(s *Parquet) { s.RowGroup.Rows = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	s.room = func(f *os.File) parquetFile { cancel(); return f }
	openParquet(t, s)
	err := s.Write(ctx, batch(t, numbered(0, 50)...))
	var part *pipe.PartialError
	if !errors.As(err, &part) || len(part.Items) != 50 || !errors.Is(part.Items[0].Err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if files := parquetFiles(t, s.Path); len(files) > 0 {
		t.Errorf("got %q", files)
	}
}

func TestParquetValidate(t *testing.T) {
	f := func(set func(*Parquet), field, want string) {
		t.Helper()
		s := &Parquet{Path: "lake", Missing: "unknown", MaxColumns: 10}
		set(s)
		var fe *pipe.FieldError
		if err := s.Validate(); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f(func(s *Parquet) { s.Path = "a{b" }, "path", "without a }")
	f(func(s *Parquet) { s.Missing = "a/b" }, "missing", "file name")
	f(func(s *Parquet) { s.Schema = columnsOf("a[", "string") }, "schema.a[", "")
	var typ ParquetType
	if err := typ.UnmarshalText([]byte("int")); err == nil || !strings.Contains(err.Error(), "int64") {
		t.Errorf("got %v for the type int", err)
	}
}

// FuzzParquetColumns writes whatever JSON comes and reads it again.
func FuzzParquetColumns(f *testing.F) {
	for _, text := range []string{`{"a":1}`, `{"a":[1,{"b":null}],"A":"x","":2}`, `{"a.b":1e400,"\ud800":true}`, `{"x":{}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.HasPrefix(text, "{") {
			return
		}
		var a record.Arena
		if _, err := record.FromJSON([]byte(text), &a); err != nil {
			return
		}
		s := newParquet(t, nil)
		if err := s.Open(t.Context(), pipetest.Env()); err != nil {
			t.Fatal(err)
		}
		err := s.Write(t.Context(), batch(t, text, text))
		var part *pipe.PartialError
		if err != nil && !errors.As(err, &part) {
			t.Fatal(err)
		}
		want := 2
		if part != nil {
			want -= len(part.Items)
		}
		for _, path := range parquetFiles(t, s.Path) {
			_, rows := readParquet(t, path)
			want -= len(rows)
		}
		if want != 0 {
			t.Errorf("%q: %d rows are missing", text, want)
		}
	})
}

func BenchmarkParquet(b *testing.B) {
	s := newParquet(b, nil)
	openParquet(b, s)
	var lines []string
	for i := range 10_000 {
		lines = append(lines, fmt.Sprintf(`{"id":%d,"service":"web-%d","ms":%d.5,"ok":true,"at":%q}`, i, i%7, i%300, time.Unix(int64(i), 0).UTC().Format(time.RFC3339)))
	}
	in := batch(b, lines...)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/event")
}
