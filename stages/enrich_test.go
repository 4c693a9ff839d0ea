package stages

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newEnrich(t testing.TB, name, content string, change func(*Enrich)) *Enrich {
	t.Helper()
	c, _ := pipe.Lookup(pipe.KindStage, "enrich")
	f := c.New().(*Enrich)
	f.Key, f.Column, f.Path = value(t, "id"), "id", filepath.Join(t.TempDir(), name)
	writeTable(t, f.Path, content)
	change(f)
	return f
}

// writeTable replaces a file, as people should.
func writeTable(t testing.TB, path, content string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(content), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

const people = "id,name,age,born.in\n1,Anna,33,Ulm\n2,\"Bo, jr\",,Rom\n"

func TestEnrich(t *testing.T) {
	f := func(name, table string, change func(*Enrich), in, want string) {
		t.Helper()
		same(t, table+in, run(t, newEnrich(t, name, table, change), in).Emitted[""], []string{want})
	}
	nothing := func(*Enrich) {}
	f("t.csv", people, nothing, `{"id":1,"name":"x"}`, `{"id":1,"name":"Anna","age":"33","born.in":"Ulm"}`)
	f("t.csv", "\ufeff"+people, func(f *Enrich) { f.Types = FieldTypes{"age": "int"} }, `{"id":"1"}`, `{"id":"1","name":"Anna","age":33,"born.in":"Ulm"}`)
	f("t.csv", people, func(f *Enrich) { f.Types = FieldTypes{"age": "int"} }, `{"id":2}`, `{"id":2,"name":"Bo, jr","born.in":"Rom"}`)
	f("t.csv", people, func(f *Enrich) { f.Take, f.Target = []string{"name", "gone", `["born.in"]`}, "who" }, `{"id":1}`, `{"id":1,"who":{"name":"Anna","born.in":"Ulm"}}`)
	f("t.csv", people, func(f *Enrich) { f.Target = "a.who" }, `{"id":1}`, `{"id":1,"a":{"who":{"name":"Anna","age":"33","born.in":"Ulm"}}}`)
	f("t.csv", people, nothing, `{"id":3}`, `{"id":3}`)
	f("t.csv", people, nothing, `{"id":null}`, `{"id":null}`)
	f("t.csv", people, func(f *Enrich) { f.Key = value(t, "message") }, `1`, `{"message":"1","name":"Anna","age":"33","born.in":"Ulm"}`)
	f("t.json", ` [ {"id": 1, "x": {"y": [1, 2]}} , {"id":"b"}] `, nothing, `{"id":1}`, `{"id":1,"x":{"y": [1, 2]}}`)
	f("t.JSON", `[{"id":1,"x":{"y":2}}]`, func(f *Enrich) { f.Take = []string{"x.y"} }, `{"id":1}`, `{"id":1,"x":{"y":2}}`)
	f("t.jsonl", "{\"id\":1,\"x\":2}\n\n{\"id\":2}", nothing, `{"id":1}`, `{"id":1,"x":2}`)
	f("t.txt", "{\"id\":1,\"x\":2}\r\n", func(f *Enrich) { f.Format = "ndjson" }, `{"id":1}`, `{"id":1,"x":2}`)
}

func TestEnrichMissing(t *testing.T) {
	r := run(t, newEnrich(t, "t.csv", people, func(f *Enrich) { f.OnMissing = "drop" }), `{"id":3}`, `{}`, `{"id":1}`)
	same(t, "dropped", r.Filtered, []string{`{"id":3}`, `{}`})
	fails(t, run(t, newEnrich(t, "t.csv", people, func(f *Enrich) { f.OnMissing = "fail" }), `{"id":3}`), "nothing is known by the key id")
	fails(t, run(t, newEnrich(t, "t.csv", people, func(f *Enrich) { f.Target = "n.x" }), `{"id":1,"n":2}`), "target: ")
	fails(t, run(t, newEnrich(t, "t.csv", people, func(f *Enrich) { f.Key = value(t, "upper(id)") }), `{"id":1}`), "key: ")
}

func TestEnrichBrokenTables(t *testing.T) {
	f := func(name, table, want string) {
		t.Helper()
		e := newEnrich(t, name, table, func(f *Enrich) { f.Types, f.MaxBytes = FieldTypes{"n": "int"}, 100 })
		if e.format() != "csv" {
			e.Types = nil
		}
		if err := e.Open(t.Context(), openEnv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", table, err, want)
			e.Close(t.Context())
		}
	}
	f("t.csv", "", "the file is empty")
	f("t.csv", "a,b\n", `line 1: there is no column "id"`)
	f("t.csv", "id,id\n", `line 1: the column "id" is there twice`)
	f("t.csv", "id,n\n1,2\n2\n", "line 3")
	f("t.csv", "id,n\n1,2\n2,x\n", `line 3: n: "x" is not a whole number`)
	f("t.csv", "id,n\n1,2\n\n1,3\n", `line 4: the key "1" is there twice, first at line 2`)
	f("t.csv", "id,n\n\"1,2\n", "line")
	f("t.csv", strings.Repeat("x", 101), "more than max_bytes, which is 100B")
	f("t.json", `{"id":1}`, "must be an array of objects")
	f("t.json", `[],"x":1`, "must be an array of objects")
	f("t.json", `[{"id":1},2]`, "element 2 is not an object")
	f("t.json", `[{"id":1},{"x":1}]`, `element 2 has no "id"`)
	f("t.json", `[{"id":1},{"id":"1"}]`, `element 2: the key "1" is there twice, first at element 1`)
	f("t.json", `[{"id":1]`, "json: byte 8")
	f("t.ndjson", "{\"id\":1}\n[]\n", "line 2: json: byte 0")
	e := newEnrich(t, "t.csv", people, func(f *Enrich) { f.Path += ".gone" })
	if err := e.Open(t.Context(), openEnv); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A table that changes is read anew; a broken one leaves the one before in use,
// and one that goes away too.
func TestEnrichReads(t *testing.T) {
	log := &lockedBuffer{}
	env := openEnv
	env.Log = slog.New(slog.NewTextHandler(log, nil))
	f := newEnrich(t, "t.csv", people, func(f *Enrich) { f.Take = []string{"name"} })
	if err := f.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	looked := make(chan struct{}, 100)
	f.table.close() // and again, with a look into it
	f.table.stop, f.table.looked = make(chan struct{}), func() { looked <- struct{}{} }
	f.table.watch()
	defer f.Close(t.Context())
	step := func(change func(), name, says string) {
		t.Helper()
		change()
		for {
			select {
			case <-looked:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: the change was not noticed; the log is\n%s", name, log)
			}
			if strings.Contains(log.String(), says) {
				break
			}
		}
		same(t, says, goOn(t, f, 1, `{"id":1}`), []string{`{"id":1,"name":"` + name + `"}`})
		log.Reset()
	}
	step(func() { writeTable(t, f.Path, "id,name\n1,Berta\n") }, "Berta", "read anew")
	step(func() { writeTable(t, f.Path, "id,name\n1,Carla\n1,Dora\n") }, "Berta", "stays in use")
	step(func() { os.Remove(f.Path) }, "Berta", "no such file")
	step(func() { writeTable(t, f.Path, "id,name\n1,Emma\n") }, "Emma", "read anew")
	if n := f.table.broken.Load(); n != 2 {
		t.Errorf("%d broken tables", n)
	}
}

// Where the system announces nothing, the file is looked at from time to time.
func TestEnrichLooksRegularly(t *testing.T) {
	f := newEnrich(t, "t.csv", people, func(*Enrich) {})
	synctest.Test(t, func(t *testing.T) {
		x := &table{file: f, log: openEnv.Log, stop: make(chan struct{})}
		if err := x.load(); err != nil {
			t.Fatal(err)
		}
		var seen []time.Duration
		start := time.Now()
		x.looked = func() { seen = append(seen, time.Since(start)) }
		go x.follow(nil)
		time.Sleep(25 * time.Second)
		close(x.stop)
		synctest.Wait()
		if !slices.Equal(seen, []time.Duration{10 * time.Second, 20 * time.Second}) {
			t.Errorf("looked after %v", seen)
		}
	})
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

func TestEnrichValidate(t *testing.T) {
	f := func(field, want string, change func(*Enrich)) {
		t.Helper()
		refuses(t, newEnrich(t, "t.csv", people, change), field, want)
	}
	f("key", "is required", func(f *Enrich) { f.Key = expr.Value{} })
	f("path", "is required", func(f *Enrich) { f.Path, f.Format = "", "csv" })
	f("column", "is required", func(f *Enrich) { f.Column = "" })
	f("format", "does not say what is in the file", func(f *Enrich) { f.Path = "x.txt" })
	f("types", "no meaning for the format json", func(f *Enrich) { f.Path, f.Types = "x.json", FieldTypes{"a": "int"} })
	f("types.a", "unknown type", func(f *Enrich) { f.Types = FieldTypes{"a": "whole"} })
	f("take[0]", "", func(f *Enrich) { f.Take = []string{""} })
	f("target", "", func(f *Enrich) { f.Target = "a[" })
	f("on_missing", "one of pass, fail and drop", func(f *Enrich) { f.OnMissing = "filter" })
	f("max_bytes", "at least 1B", func(f *Enrich) { f.MaxBytes = 0 })
	f("check_interval", "above 0", func(f *Enrich) { f.CheckInterval = 0 })
}

func TestEnrichConforms(t *testing.T) {
	outer := t
	pipetest.Stage(t, func() pipe.Stage {
		return newEnrich(outer, "t.csv", people, func(f *Enrich) { f.OnMissing, f.Target = "fail", "who" })
	}, `{"id":1}`, `{"id":7}`, "a line", `{"id":2,"who":3}`)
}

func FuzzEnrichTable(f *testing.F) {
	f.Add([]byte(people), uint8(0))
	f.Add([]byte(`[{"id":1,"x":[2]}]`), uint8(1))
	f.Add([]byte("{\"id\":1}\n{\"id\":2}\n"), uint8(2))
	f.Add([]byte(`[],"rows":[]`), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, format uint8) {
		e := &Enrich{Column: "id", Format: []string{"csv", "json", "ndjson"}[format%3], Types: FieldTypes{"*": "auto"}}
		plan, err := e.planTake("id")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := readTable(data, e, &plan)
		if err != nil {
			return
		}
		out := pipe.NewOut(1)
		for _, r := range rows {
			events := readNow(t, 1, `{}`)
			e.decide(events[0], r, out)
			readNow(t, 1, string(events[0].Body.AppendJSON(nil))) // what comes out is JSON
		}
	})
}

func BenchmarkEnrich(b *testing.B) {
	var table strings.Builder
	table.WriteString("id,name,country\n")
	for i := range 10_000 {
		fmt.Fprintf(&table, "198.51.100.%d,host-%d,de\n", i, i)
	}
	f := newEnrich(b, "t.csv", table.String(), func(f *Enrich) { f.Key, f.Take = value(b, "client_ip"), []string{"name", "country"} })
	benchmark(b, f, objects())
	f.Close(b.Context())
}
