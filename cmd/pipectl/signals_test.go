package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
)

// process is a running pipectl whose standard error is read line by line.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout io.Reader
	stderr *bufio.Reader
	seen   strings.Builder
}

func startRun(t *testing.T, yaml string, args ...string) *process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipeline.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	return startFile(t, file, args...)
}

func startFile(t *testing.T, file string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("pipectl", append([]string{"run", file}, args...)...)}
	return p.start()
}

// start starts p.cmd.
func (p *process) start() *process {
	t := p.t
	t.Helper()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdout, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	p.stderr = bufio.NewReader(stderr)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

// await reads standard error until a line holds text.
func (p *process) await(text string) {
	p.t.Helper()
	for {
		line, err := p.stderr.ReadString('\n')
		p.seen.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			p.t.Fatalf("standard error ended before %q:\n%s", text, p.seen.String())
		}
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// awaitData waits for the first line of data; what follows is thrown away.
func (p *process) awaitData() {
	p.t.Helper()
	out := bufio.NewReader(p.stdout)
	if _, err := out.ReadString('\n'); err != nil {
		rest, _ := io.ReadAll(p.stderr)
		p.t.Fatalf("no data: %v; standard error:\n%s", err, rest)
	}
	go io.Copy(io.Discard, out)
}

// says checks what came on standard error.
func (p *process) says(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		if !strings.Contains(p.seen.String(), text) {
			p.t.Errorf("standard error lacks %q:\n%s", text, p.seen.String())
		}
	}
}

// exit waits for the end and checks the exit code and that it came in time.
func (p *process) exit(want int, within time.Duration) {
	p.t.Helper()
	start := time.Now()
	rest, _ := io.ReadAll(p.stderr)
	p.seen.Write(rest)
	err := p.cmd.Wait()
	took := time.Since(start)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("exit code %d, want %d; standard error:\n%s", got, want, p.seen.String())
	}
	if took > within {
		p.t.Errorf("took %v after the signal, want at most %v", took, within)
	}
}

const flowing = `
version: 1
sources: {in: {type: generate, rate: 1000/s}}
sinks: {out: {type: stdout}}
edges: [in -> out]
`

const delayed = `
version: 1
shutdown: {timeout: 200ms}
sources: {in: {type: generate, count: 100}}
stages:
  first: {type: map, set: {seen: 'true'}}
  slow: {type: delay, for: 1h}
sinks: {out: {type: stdout}}
edges: [in -> first, first -> out, first -> slow -> out]
`

const hung = `
version: 1
shutdown: {timeout: 1h}
sources: {in: {type: generate, count: 100}}
sinks: {out: {type: test_hang}}
edges: [in -> out]
`

// What a stop may take at most, and what a busy test machine may add to it.
const (
	stopLimit = time.Second
	spare     = 2 * time.Second
)

func TestFirstSignalDrains(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := startRun(t, flowing)
		p.awaitData()
		p.signal(s)
		p.exit(0, spare)
		p.says("draining", "drained after", "exit code 0")
	}
}

func TestDrainEndsAtTheShutdownTimeout(t *testing.T) {
	p := startRun(t, delayed)
	p.awaitData()
	p.signal(syscall.SIGTERM)
	p.exit(3, 200*time.Millisecond+stopLimit+spare)
	p.says("shutdown timeout is over", "stopped after", "exit code 3", "100 events of source in")
}

func TestSecondSignalStops(t *testing.T) {
	p := startRun(t, hung)
	p.await("test_hang holds events")
	p.signal(syscall.SIGTERM)
	p.await("draining")
	p.signal(syscall.SIGINT)
	p.exit(3, stopLimit+spare)
	p.says("stopping", "exit code 3", "100 events of source in")
}

func TestThirdSignalEndsTheProcess(t *testing.T) {
	p := startRun(t, hung)
	p.await("test_hang holds events")
	p.signal(syscall.SIGTERM)
	p.await("draining")
	p.signal(syscall.SIGINT)
	p.await("stopping")
	p.signal(syscall.SIGTERM)
	p.exit(130, spare)
	p.says("forced")
}

// A receipt is written also when a run is stopped.
func TestStoppedRunHasAReceipt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "receipt.json")
	p := startRun(t, hung, "--receipt", file)
	p.await("test_hang holds events")
	p.signal(syscall.SIGTERM)
	p.await("draining")
	p.signal(syscall.SIGINT)
	p.exit(3, stopLimit+spare)
	var r engine.Receipt
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if b := r.Balance; r.ExitCode != 3 || r.Outcome != engine.Stopped || b.Returned != b.Read+b.Created || b.Error != 0 {
		t.Errorf("receipt: exit code %d, outcome %s, balance %+v", r.ExitCode, r.Outcome, b)
	}
}

// timeout(1) signals a process and its group: twice, at the same moment.
func TestSignalsCountOnceWhenTheyComeTwice(t *testing.T) {
	p := startRun(t, flowing)
	p.awaitData()
	p.signal(syscall.SIGTERM)
	p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	p.exit(0, spare)
}

func TestSignalCounter(t *testing.T) {
	var c signalCounter
	start := time.Now()
	f := func(s syscall.Signal, after time.Duration, want int) {
		t.Helper()
		if got := c.count(s, start.Add(after)); got != want {
			t.Errorf("%v after %v is number %d, want %d", s, after, got, want)
		}
	}
	f(syscall.SIGTERM, 0, 1)
	f(syscall.SIGTERM, sameSignal/2, 0)
	f(syscall.SIGTERM, sameSignal, 2) // counted from the one that counted
	f(syscall.SIGINT, sameSignal, 3)
}
