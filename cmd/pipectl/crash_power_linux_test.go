package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPowerCutAtEverySystemCall records the system calls of a real run and cuts
// the power of a modelled disk after each: what is not forced to the disk by then
// may be gone. Everything before any checkpoint that can then be found must be
// in the output.
func TestPowerCutAtEverySystemCall(t *testing.T) {
	needStrace(t)
	t.Parallel()
	const lines = 2000
	w := &world{dir: t.TempDir()}
	in, err := newFileInput(w, 2, lines/2, false)
	mustDo(t, err)
	w.input, w.output = in, &fileOutput{dir: filepath.Join(w.dir, "out"), lines: lines}
	put(t, filepath.Join(w.dir, "pipeline.yaml"), fmt.Sprintf(`version: 1
sources: {in: {type: file, paths: ['%[1]s/in.*'], codec: ndjson, checkpoint: %[1]s/state}}
stages: {pace: {type: throttle, rate: 1600/s, burst: 1}}
sinks: {out: {type: file, path: '%[1]s/out/deep/all.ndjson', codec: ndjson, fsync: batch, rotate: {bytes: 60KiB}, batch: {events: 100, interval: 20ms}}}
edges: [in -> pace -> out]
`, w.dir))
	trace := filepath.Join(w.dir, "trace")
	w.under = []string{"strace", "-f", "-qq", "-y", "-s", "1000000", "-o", trace,
		"-e", "trace=openat,write,fsync,renameat,unlinkat,ftruncate,mkdirat"}
	mustDo(t, w.finish())
	text, err := os.ReadFile(trace)
	mustDo(t, err)
	disk := newPowerDisk(w.dir)
	calls, settled := 0, 0
	for _, c := range systemCalls(string(text)) {
		if !disk.apply(c) {
			continue
		}
		calls++
		n, err := disk.cut(in)
		if err != nil {
			t.Fatalf("power cut after call %d, %s: %v", calls, c.text[:min(len(c.text), 200)], err)
		}
		settled = max(settled, n)
	}
	if settled != lines || calls < 40 {
		t.Fatalf("at the end %d lines were settled, after %d calls", settled, calls)
	}
	t.Logf("%d power cuts: nothing lost", calls)
}

// systemCall is a call that succeeded.
type systemCall struct {
	name  string
	paths []string // in the order of the arguments, that of a descriptor included
	data  string   // of a write
	n     int      // what it returned
	text  string
}

var (
	interrupted = regexp.MustCompile(`^(\d+) +(.*) <unfinished \.\.\.>$`)
	resumed     = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	whole       = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (\d+)`)
	quoted      = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	descriptor  = regexp.MustCompile(`^\d+<([^>]*)>`)
)

// systemCalls reads what strace wrote, in the order in which the calls ended.
func systemCalls(trace string) (calls []systemCall) {
	begun := map[string]string{} // by thread
	for line := range strings.Lines(trace) {
		line = strings.TrimSuffix(line, "\n")
		if m := interrupted.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[1] + " " + m[2]
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = begun[m[1]] + m[2]
		}
		m := whole.FindStringSubmatch(line)
		if m == nil {
			continue // it failed, or is no call
		}
		c := systemCall{name: m[1], text: line}
		c.n, _ = strconv.Atoi(m[3])
		if d := descriptor.FindStringSubmatch(m[2]); d != nil {
			c.paths = append(c.paths, d[1])
		}
		for _, q := range quoted.FindAllString(m[2], -1) {
			text, err := strconv.Unquote(q)
			if c.name == "write" {
				c.data = text
			} else if err == nil {
				c.paths = append(c.paths, text)
			}
		}
		calls = append(calls, c)
	}
	return calls
}

// powerDisk is a disk that keeps only what it was forced to keep. Of names that
// were changed since their folder was forced to the disk, the old or the new one
// may be there after the power was cut.
type powerDisk struct {
	root    string
	now     map[string]*powerFile          // by path
	certain map[string]*powerFile          // what a path leads to for certain, as its folder was last forced
	maybe   map[string]map[*powerFile]bool // what a path may lead to since
}

type powerFile struct {
	dir          bool
	data, forced string
}

func newPowerDisk(root string) *powerDisk {
	dir := &powerFile{dir: true}
	return &powerDisk{root, map[string]*powerFile{root: dir}, map[string]*powerFile{root: dir}, map[string]map[*powerFile]bool{}}
}

// apply takes a call in. It reports false if the call is about another disk.
func (d *powerDisk) apply(c systemCall) bool {
	if len(c.paths) == 0 || !strings.HasPrefix(c.paths[0], d.root) {
		return false
	}
	path := c.paths[0]
	switch f := d.now[path]; c.name {
	case "openat":
		if f != nil || !strings.Contains(c.text, "O_CREAT") {
			return false
		}
		d.name(path, &powerFile{})
	case "mkdirat":
		d.name(path, &powerFile{dir: true})
	case "write":
		if f == nil {
			return false // the log
		}
		f.data += c.data[:c.n]
	case "fsync":
		if f.forced = f.data; f.dir {
			d.force(path)
		}
	case "renameat":
		d.name(c.paths[1], f)
		d.name(path, nil)
	case "unlinkat":
		d.name(path, nil)
	default:
		panic("the model does not know " + c.text)
	}
	return true
}

// name makes path lead to f, or to nothing.
func (d *powerDisk) name(path string, f *powerFile) {
	if d.maybe[path] == nil {
		d.maybe[path] = map[*powerFile]bool{d.certain[path]: true}
	}
	d.maybe[path][f] = true
	if d.now[path] = f; f == nil {
		delete(d.now, path)
	}
}

// force makes the names in a folder certain.
func (d *powerDisk) force(dir string) {
	for path := range d.maybe {
		if filepath.Dir(path) != dir {
			continue
		}
		delete(d.maybe, path)
		if d.certain[path] = d.now[path]; d.now[path] == nil {
			delete(d.certain, path)
		}
	}
}

// cut holds what can be found after a power cut against the checkpoints that can.
// It returns how many lines the newest of them says are settled.
func (d *powerDisk) cut(in *fileInput) (settled int, err error) {
	there := map[int]bool{}
	for path, f := range d.certain {
		if f.dir || filepath.Ext(path) != ".ndjson" || !d.reachable(filepath.Dir(path)) {
			continue
		}
		for line := range strings.Lines(f.forced) {
			var n int
			fmt.Sscanf(line, `{"n":%d,`, &n)
			if line == crashLine(n)+"\n" {
				there[n] = true
			}
		}
	}
	state := filepath.Join(d.root, "state")
	candidates := slices.Collect(maps.Keys(d.maybe[state]))
	for _, f := range append(candidates, d.certain[state]) {
		if f == nil {
			continue
		}
		mark, err := in.parse([]byte(f.forced))
		if err != nil {
			return 0, err
		}
		n := 0
		for i := range in.files {
			for k, end := range in.ends[i] {
				if end > mark[i] {
					break
				}
				if n++; !there[i*in.lines+k] {
					return 0, fmt.Errorf("line %d is lost: the checkpoint says that it is settled", i*in.lines+k)
				}
			}
		}
		settled = max(settled, n)
	}
	return settled, nil
}

// reachable reports whether a folder and those above it are there for certain.
func (d *powerDisk) reachable(dir string) bool {
	for ; dir != d.root; dir = filepath.Dir(dir) {
		if d.certain[dir] == nil {
			return false
		}
	}
	return true
}
