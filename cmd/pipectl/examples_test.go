package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
)

const exampleDir = "../../examples/pipelines"

// example says how a pipeline of examples/pipelines is run and what it must show.
// One with drive runs until it is drained, or needs a partner; the others end by
// themselves.
type example struct {
	args  []string // beside the file
	stdin string
	drive func(t *testing.T, r *rig)
	check func(t *testing.T, r ran)
}

// ran is what a run left behind.
type ran struct {
	engine.Receipt
	stdout string
	out    string // the folder of its files
}

// rig runs one example in a folder of its own.
type rig struct {
	file    string
	out     string
	env     []string
	args    []string
	receipt string
}

// atOnce is how many examples run at the same moment. They mostly sleep.
const atOnce = 6

// TestExamples runs every example and checks that its receipt shows what its
// first line says.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(exampleDir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples in %s: %v", exampleDir, err)
	}
	known := map[string]bool{}
	slots := make(chan struct{}, atOnce)
	var finish []func()
	var running sync.WaitGroup
	defer running.Wait() // also those that nobody asked for, with -run
	for _, file := range files {
		name := filepath.Base(file)
		known[name] = true
		x, ok := examples[name]
		if !ok {
			t.Errorf("%s has no entry in the table: say what its receipt must show", name)
			continue
		}
		r := newRig(t, name, x)
		if x.drive != nil {
			finish = append(finish, func() { t.Run(name, func(t *testing.T) { x.drive(t, r) }) })
			continue
		}
		result := make(chan func(*testing.T), 1)
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			result <- r.run(x)
		})
		finish = append(finish, func() { t.Run(name, func(t *testing.T) { (<-result)(t) }) })
	}
	for name := range examples {
		if !known[name] {
			t.Errorf("there is no example %s", name)
		}
	}
	for _, f := range finish {
		f()
	}
}

func newRig(t *testing.T, name string, x example) *rig {
	t.Helper()
	data, err := filepath.Abs(filepath.Join(exampleDir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs(filepath.Join(exampleDir, name))
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	return &rig{file: file, out: out, args: x.args, receipt: filepath.Join(out, "receipt.json"),
		env: append(os.Environ(), "DATA="+data, "OUT="+out, "PORT=0")}
}

func (r *rig) command(file string) *exec.Cmd {
	cmd := exec.Command("pipectl", append([]string{"run", file, "--receipt", r.receipt}, r.args...)...)
	cmd.Env, cmd.Dir = r.env, r.out
	return cmd
}

// run runs an example that ends by itself and returns what is to be said about it.
func (r *rig) run(x example) func(*testing.T) {
	cmd := r.command(r.file)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(x.stdin), &stdout, &stderr
	err := cmd.Start()
	if err == nil {
		stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		err = cmd.Wait()
		stuck.Stop()
	}
	return func(t *testing.T) {
		if err != nil {
			t.Fatalf("%v:\n%s", err, stderr.String())
		}
		result := r.result(t)
		result.stdout = stdout.String()
		x.check(t, result)
		if t.Failed() {
			t.Log(stderr.String())
		}
	}
}

// result reads the receipt of a run that drained and checks what all of them
// promise: every event is accounted for and nothing was left.
func (r *rig) result(t *testing.T) ran {
	t.Helper()
	result := ran{out: r.out}
	if err := json.Unmarshal(readFile(t, r.receipt), &result.Receipt); err != nil {
		t.Fatal(err)
	}
	b := result.Balance
	if b.Error != 0 || b.InFlight != 0 || b.Returned != 0 || b.Read == 0 || result.Outcome != engine.Drained || result.ExitCode != 0 {
		t.Errorf("outcome %s, exit code %d, balance %+v", result.Outcome, result.ExitCode, b)
	}
	return result
}

// start starts an example that runs until it is drained.
func (r *rig) start(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, cmd: r.command(r.file)}
	p.begin()
	return p
}

// begin starts the process with its standard error read line by line.
func (p *process) begin() {
	p.t.Helper()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.stderr = bufio.NewReader(stderr)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { p.cmd.Process.Kill() })
}

var address = regexp.MustCompile(`msg=listening .*address=(\S+)`)

// listening waits for an http_server source and returns its address.
func (p *process) listening() string {
	p.t.Helper()
	p.await("msg=listening")
	return address.FindStringSubmatch(p.seen.String())[1]
}

// drained ends the process with a signal and returns its receipt.
func (p *process) drained(r *rig) ran {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.exit(0, 10*time.Second)
	return r.result(p.t)
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// records reads a file of the run with one JSON object per line.
func (r ran) records(t *testing.T, name string) []map[string]any {
	t.Helper()
	var list []map[string]any
	for line := range bytes.Lines(readFile(t, filepath.Join(r.out, name))) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v: %s", name, err, line)
		}
		list = append(list, m)
	}
	return list
}

// must reports an effect that does not show.
func must(t *testing.T, shows bool, what string, got ...any) {
	t.Helper()
	if !shows {
		t.Errorf("%s; got %s", what, strings.TrimSpace(fmt.Sprintln(got...)))
	}
}

// TestExamplesAreValid demands that no example has even a warning and that its
// first line says what it shows.
func TestExamplesAreValid(t *testing.T) {
	for name := range examples {
		file := filepath.Join(exampleDir, name)
		p, found := config.Load(file, config.Options{})
		if p != nil {
			found = append(found, check.Analyze(p).Findings...)
			if want := strings.TrimSuffix(name, ".yaml"); p.Name != want {
				t.Errorf("%s: the pipeline's name is %s", name, p.Name)
			}
		}
		var text strings.Builder
		if found.WriteText(&text); len(found) > 0 {
			t.Errorf("%s is not clean:\n%s", name, text.String())
		}
		if first, _, _ := strings.Cut(string(readFile(t, file)), "\n"); !strings.HasPrefix(first, "# Shows: ") {
			t.Errorf("%s begins with %q, want # Shows: ...", name, first)
		}
	}
}
