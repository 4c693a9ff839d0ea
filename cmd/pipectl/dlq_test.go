package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/dlq"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// letterDesk is a folder with a file of dead letters of the node "work", numbered
// from 1, and a pipeline that they go through.
type letterDesk struct {
	t             *testing.T
	dir           string
	letters, yaml string
}

// mended is a pipeline that can handle what has failed before. Its one source is
// never read by a replay.
const mended = `
version: 1
shutdown: {timeout: 5s}
sources: {in: {type: stdin}}
stages: {work: {type: map, set: {mended: 'true'}}}
sinks: {out: {type: file, path: out.ndjson}}
edges: [in -> work -> out]
`

func newLetterDesk(t *testing.T, letters ...record.Body) *letterDesk {
	t.Helper()
	d := &letterDesk{t: t, dir: t.TempDir()}
	d.letters, d.yaml = filepath.Join(d.dir, "bad.ndjson"), filepath.Join(d.dir, "mended.yaml")
	var text []byte
	for i, body := range letters {
		l := dlq.Letter{Error: "no", Class: pipe.Poison, Node: "work", Attempts: 1, Time: time.Unix(int64(i), 0),
			ID: fmt.Sprintf("%016x", i+1), Origin: fmt.Sprintf("in:%d", i+1), Source: "in", Event: body}
		r := l.Record()
		text = append(r.AppendJSON(text), '\n')
	}
	d.save(d.letters, text)
	d.save(d.yaml, []byte(mended))
	return d
}

func (d *letterDesk) save(file string, text []byte) {
	d.t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// numbers are letters whose events are {"n": 1}, {"n": 2} and so on.
func numbers(t *testing.T, n int) (list []record.Body) {
	t.Helper()
	for i := range n {
		body, err := record.FromJSON(fmt.Appendf(nil, `{"n":%d}`, i+1), nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, body)
	}
	return list
}

// replay starts a replay with more arguments.
func (d *letterDesk) replay(args ...string) *process {
	d.t.Helper()
	p := &process{t: d.t, cmd: exec.Command("pipectl", append([]string{"dlq", "replay", d.letters}, args...)...)}
	p.cmd.Dir = d.dir
	p.begin()
	return p
}

// arrived counts the lines that the sink wrote.
func (d *letterDesk) arrived() map[string]int {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "out.ndjson"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		seen[line]++
	}
	return seen
}

// TestReplayIsResumed: a replay that is killed and begun again, until it ends by
// itself, delivers every letter; it repeats no more than what it has sent since it
// last wrote down what was done.
func TestReplayIsResumed(t *testing.T) {
	const letters, perSecond, kills = 600, 250, 2
	d := newLetterDesk(t, numbers(t, letters)...)
	for n := range kills {
		p := d.replay("--pipeline", d.yaml, "--rate", fmt.Sprintf("%d/s", perSecond))
		p.await("pipeline starts")
		before := len(d.arrived())
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(d.letters + dlq.DoneSuffix); (n > 0 || err == nil) && len(d.arrived()) > before+50 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("nothing arrives:\n%s", p.seen.String())
			}
		}
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, p.stderr)
		p.cmd.Wait()
		if len(d.arrived()) == letters {
			t.Fatal("all have arrived before the kill: nothing is proved")
		}
	}
	p := d.replay("--pipeline", d.yaml)
	p.exit(0, 20*time.Second)
	p.says("replayed before", "drained after")
	seen := d.arrived()
	repeated := 0
	for line, n := range seen {
		repeated += n - 1
		if n > kills+1 {
			t.Errorf("%q arrived %d times", line, n)
		}
	}
	// A save is due every second; a busy machine may take as long again for it.
	if most := kills * perSecond * 2; len(seen) != letters || repeated > most {
		t.Errorf("%d of %d letters arrived, %d copies more; want all and at most %d", len(seen), letters, repeated, most)
	}
	p = d.replay("--pipeline", d.yaml)
	p.exit(0, 20*time.Second)
	p.says(fmt.Sprintf("0 dead letters of %s to replay; left out: %d replayed before", d.letters, letters))
}

// TestReplayDrains: the first signal ends a replay whole. What was sent is done,
// what was not stays, and nothing is sent twice.
func TestReplayDrains(t *testing.T) {
	const letters = 400
	d := newLetterDesk(t, numbers(t, letters)...)
	p := d.replay("--pipeline", d.yaml, "--rate", "100/s")
	p.await("pipeline starts")
	for end := time.Now().Add(20 * time.Second); len(d.arrived()) < 10 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	p.signal(syscall.SIGTERM)
	p.exit(1, 5*time.Second)
	p.says("not reached or not settled", "letters are not replayed: try again")
	first := len(d.arrived())
	if first < 10 || first == letters {
		t.Fatalf("%d of %d arrived before the signal", first, letters)
	}
	p.says(fmt.Sprintf("replayed %d of %d letters; %d stay", first, letters, letters-first))
	p = d.replay("--pipeline", d.yaml)
	p.exit(0, 20*time.Second)
	p.says(fmt.Sprintf("replayed %d of %d letters\n", letters-first, letters-first))
	for line, n := range d.arrived() {
		if n != 1 {
			t.Errorf("%q arrived %d times", line, n)
		}
	}
}

// TestReplayToURL: each event is the body of one request, byte for byte, with its
// id, the token, and nothing else; what is refused stays.
func TestReplayToURL(t *testing.T) {
	odd := []byte("not UTF-8: \xff\xfe")
	bodies := append(numbers(t, 2), record.FromText(odd), record.FromText([]byte("refuse me")))
	d := newLetterDesk(t, bodies...)
	var mu sync.Mutex
	var got []string
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer sesame" || r.Header.Get("Idempotency-Key") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.HasPrefix(string(body), "refuse") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(body))
	}))
	defer far.Close()
	p := d.replay("--url", far.URL, "--token", "sesame")
	p.exit(1, 10*time.Second)
	p.says("replayed 3 of 4 letters; 1 stays: 1 failed again")
	if want := []string{`{"n":1}`, `{"n":2}`, string(odd)}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if strings.Contains(p.seen.String(), "sesame") {
		t.Errorf("the token is shown:\n%s", p.seen.String())
	}
}

// TestDeadLettersArePrivate: only their owner can read dead letters, what was put
// aside of them, and what was replayed, whatever the umask; other files may be read
// by others.
func TestDeadLettersArePrivate(t *testing.T) {
	dir := t.TempDir()
	yaml := `
version: 1
sources: {in: {type: generate, count: 200, event: {n: seq}}}
stages: {parse: {type: parse, format: json, field: n, on_error: drop}, again: {type: filter, where: 'n % 2 == 0'}}
sinks:
  out: {type: file, path: out.ndjson}
  bad: {type: file, path: bad.ndjson, rotate: {bytes: 4KiB}, batch: {events: 20}}
  per: {type: file, path: "per/{node}.ndjson"}
edges: [in -> again -> out, in -> parse -> out, parse.failed -> bad, parse.failed -> per]
`
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"umask 0 && pipectl run p.yaml", "umask 0 && pipectl dlq replay 'bad*.ndjson' --pipeline p.yaml --to out --limit 5"} {
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, text)
		}
	}
	letters := 0
	for _, pattern := range []string{"bad*", "per/*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		letters += len(names)
		for _, name := range names {
			wantMode(t, name, 0o600)
		}
	}
	if letters < 5 {
		t.Errorf("only %d files: were none put aside?", letters)
	}
	wantMode(t, filepath.Join(dir, "out.ndjson"), 0o644)
}

func wantMode(t *testing.T, name string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s: %o, want %o", filepath.Base(name), got, want)
	}
}

// TestShowIsExact: the event comes out of a letter as it went into the node.
func TestShowIsExact(t *testing.T) {
	odd := "tab\t, \"quotes\", \xff and \x00"
	d := newLetterDesk(t, record.FromText([]byte(odd)))
	var out, errs bytes.Buffer
	cmd := exec.Command("pipectl", "dlq", "show", d.letters, "1", "--format", "event")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || out.String() != odd+"\n" {
		t.Errorf("error %v, got %q, want %q\n%s", err, out.String(), odd+"\n", errs.String())
	}
	out.Reset() // a terminal gets no control characters
	cmd = exec.Command("pipectl", "dlq", "show", d.letters, "1")
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil || strings.ContainsAny(out.String(), "\x00\t") || strings.Contains(out.String(), "\xff") {
		t.Errorf("error %v, got %q", err, out.String())
	}
}

// TestDeadLettersExample does what examples/pipelines/dead-letters.yaml tells its
// reader to do.
func TestDeadLettersExample(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sh", "-ec", "mkdir -p examples/pipelines && cp \"$0\" examples/pipelines && pipectl run examples/pipelines/dead-letters.yaml",
		absolute(t, filepath.Join(exampleDir, "dead-letters.yaml")))
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var said strings.Builder
	for line := range strings.Lines(string(readFile(t, filepath.Join(dir, "examples/pipelines/dead-letters.yaml")))) {
		command, ok := strings.CutPrefix(line, "#   ")
		if !ok {
			continue
		}
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		text, err := cmd.CombinedOutput()
		said.Write(text)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, text)
		}
	}
	has(t, said.String(), "50 letters, 0 replayed", "set.euros: expression \"cents / 100\"", "replayed 50 of 50 letters\n")
	booked := string(readFile(t, filepath.Join(dir, "out/booked.ndjson")))
	if n, mended := strings.Count(booked, "\n"), strings.Count(booked, `"cents":"unknown","euros":null`); n != 500 || mended != 50 {
		t.Errorf("%d are booked, %d of them mended, want 500 and 50", n, mended)
	}
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	abs, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
