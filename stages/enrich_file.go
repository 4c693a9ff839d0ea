package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterStage("enrich", func() pipe.Stage {
		return &Enrich{EnrichRule: EnrichRule{OnMissing: onPass}, MaxBytes: 64 << 20, CheckInterval: pipe.Duration(10 * time.Second)}
	})
}

// Enrich looks a key up in a table from a file and adds what it finds there to
// the event. (To ask a service, see enrich_http.)
//
// The file is read anew when it changes. One that cannot be read or is broken is
// reported in the log, and the table before stays in use; at the start it stops
// the pipeline. Replace the file with a rename: what is half written may be taken
// for the whole. A step works with one table, the next one may have another.
//
// Example:
//
//	type: enrich
//	key: customer_id
//	path: customers.csv
//	column: id
//	take: [name, country]
//	target: customer
//
// Example:
//
//	type: enrich
//	path: customers.csv
//	column: id
//	key: customer_id
//	take: [name, country]
type Enrich struct {
	EnrichRule `yaml:",inline"`

	// Path is the file.
	Path string `yaml:"path" required:"true"`

	// Format is csv (the first line names the columns), json (an array of objects)
	// or ndjson (an object on each line). By default the end of the file's name says
	// it: .csv, .json, .ndjson or .jsonl.
	Format string `yaml:"format" enum:"csv,json,ndjson"`

	// Column is the column, or the field of the objects, that has the keys. A key
	// must not be there twice.
	Column string `yaml:"column" required:"true"`

	// Types says what the cells of a csv become, string by default: see the types
	// of parse.
	Types FieldTypes `yaml:"types" enum:"string,int,float,bool,auto"`

	// MaxBytes is how large the file may be, 64MiB by default. In memory it takes
	// several times as much, and twice that while a new one is read.
	MaxBytes pipe.Size `yaml:"max_bytes" min:"1"`

	// CheckInterval is how often to look whether the file has changed, 10s by
	// default, where the system does not announce it (network file systems).
	CheckInterval pipe.Duration `yaml:"check_interval" above:"0s"`

	table *table
}

// tableQuiet is for how long there must be no changes before the file is read.
const tableQuiet = 100 * time.Millisecond

// Validate checks the paths, the format and the types.
func (f *Enrich) Validate() error {
	errs := append(f.validate(), f.Types.validate())
	if f.Path == "" {
		errs = append(errs, fieldError("path", "such as customers.csv", "is required"))
	}
	if f.Column == "" {
		errs = append(errs, fieldError("column", "name the column that has the keys", "is required"))
	}
	if f.MaxBytes < 1 {
		errs = append(errs, fieldError("max_bytes", "such as 64MiB", "must be at least 1B"))
	}
	if f.CheckInterval <= 0 {
		errs = append(errs, fieldError("check_interval", "such as 10s", "must be above 0"))
	}
	switch format := f.format(); {
	case format == "":
		errs = append(errs, fieldError("format", "one of csv, json and ndjson", "the name %q does not say what is in the file", filepath.Base(f.Path)))
	case format != "csv" && len(f.Types) > 0:
		errs = append(errs, fieldError("types", "", "has no meaning for the format %s", format))
	}
	return errors.Join(errs...)
}

func (f *Enrich) format() string {
	if f.Format != "" {
		return f.Format
	}
	switch ext := strings.ToLower(filepath.Ext(f.Path)); ext {
	case ".csv", ".json", ".ndjson":
		return ext[1:]
	case ".jsonl":
		return "ndjson"
	}
	return ""
}

// Open reads the file and begins to watch it.
func (f *Enrich) Open(_ context.Context, env pipe.Env) error {
	plan, err := f.planTake(f.Column)
	if err != nil {
		return err
	}
	f.table, err = openTable(f, plan, env.Log)
	return err
}

// Close ends the watch.
func (f *Enrich) Close(context.Context) error {
	if f.table != nil {
		f.table.close()
	}
	return nil
}

// Process looks each event up.
func (f *Enrich) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	rows := *f.table.rows.Load()
	scratch := out.Scratch()
	for _, e := range in {
		v, err := f.Key.Eval(e, &out.Arena)
		if err != nil {
			out.Fail(e, poison(fmt.Errorf("key: %w", err)))
			continue
		}
		var found *row
		if key, ok := v.Key(scratch); ok {
			found = rows[string(key)]
		}
		f.decide(e, found, out)
	}
	out.KeepScratch(scratch)
	return nil
}

// table is a file that is read anew when it changes.
type table struct {
	file *Enrich
	plan takePlan
	log  *slog.Logger

	rows   atomic.Pointer[map[string]*row]
	seen   os.FileInfo // of the file that was read last, well or not; nil when it was gone
	broken atomic.Int64
	looked func() // for tests: after each look at the file

	stop chan struct{}
	done sync.WaitGroup
}

func openTable(f *Enrich, plan takePlan, log *slog.Logger) (*table, error) {
	t := &table{file: f, plan: plan, log: log, stop: make(chan struct{})}
	t.seen, _ = os.Stat(f.Path)
	if err := t.load(); err != nil {
		return nil, err
	}
	t.watch()
	return t, nil
}

// close ends the watch.
func (t *table) close() {
	close(t.stop)
	t.done.Wait()
}

// watch looks at the file when its folder changes, and from time to time.
func (t *table) watch() {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = w.Add(filepath.Dir(t.file.Path)) // the folder: files are replaced, and links moved
	}
	if err != nil {
		t.log.Warn("changes of the table are not announced; looking for them regularly instead",
			"file", t.file.Path, "every", t.file.CheckInterval.D(), "error", err)
	}
	t.done.Add(1)
	go func() {
		defer t.done.Done()
		var changes chan fsnotify.Event
		if w != nil {
			defer w.Close()
			changes = w.Events
		}
		t.follow(changes)
	}()
}

// follow looks at the file when there were changes and then none for a moment.
func (t *table) follow(changes <-chan fsnotify.Event) {
	regularly := time.NewTicker(t.file.CheckInterval.D())
	defer regularly.Stop()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		select {
		case <-t.stop:
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
			quiet.Reset(tableQuiet)
		case <-quiet.C:
			t.look()
		case <-regularly.C:
			t.look()
		}
	}
}

// look reads the file if it is another one than before.
func (t *table) look() {
	if now, _ := os.Stat(t.file.Path); !sameState(t.seen, now) {
		t.seen = now
		if err := t.load(); err != nil {
			t.log.Error("the table has changed and cannot be used; the one before stays in use",
				"error", err, "broken", t.broken.Add(1))
		} else {
			t.log.Info("the table is read anew", "file", t.file.Path, "keys", len(*t.rows.Load()))
		}
	}
	if t.looked != nil {
		t.looked()
	}
}

// sameState reports whether nothing says that a file has changed.
func sameState(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// load reads the file and puts it to use.
func (t *table) load() error {
	data, err := t.bytes()
	if err != nil {
		return err
	}
	rows, err := readTable(data, t.file, &t.plan)
	if err != nil {
		return fmt.Errorf("table %s: %w", t.file.Path, err)
	}
	t.rows.Store(&rows)
	return nil
}

func (t *table) bytes() ([]byte, error) {
	f, err := os.Open(t.file.Path)
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(t.file.MaxBytes)+1))
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	if len(data) > int(t.file.MaxBytes) {
		return nil, fmt.Errorf("table %s has more than max_bytes, which is %v: raise it", t.file.Path, t.file.MaxBytes)
	}
	return data, nil
}
