package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
)

// pit takes nothing, not even the bodies of requests, until it is opened; then it
// counts the lines that come.
type pit struct {
	*httptest.Server
	open  chan struct{}
	once  sync.Once
	lines atomic.Int64
}

func newPit(t *testing.T) *pit {
	p := &pit{open: make(chan struct{})}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.clear()
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// clear opens the pit.
func (p *pit) clear() { p.once.Do(func() { close(p.open) }) }

func (p *pit) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	<-p.open
	body := bufio.NewReaderSize(r.Body, 64<<10)
	n := int64(0)
	for {
		part, err := body.ReadSlice('\n')
		if bytes.HasSuffix(part, []byte{'\n'}) {
			n++
		}
		if err == io.EOF {
			p.lines.Add(n)
			return
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// writeGrowing writes n events of 10 KB at first and of last bytes at last.
func writeGrowing(t *testing.T, n, last int) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "growing.ndjson")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pad := strings.Repeat("x", last)
	for i := range n {
		size := int(1e4 * math.Pow(float64(last)/1e4, float64(i)/float64(n-1)))
		if _, err := fmt.Fprintf(f, `{"n":%d,"pad":"%s"}`+"\n", i, pad[:size-20]); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// peakMemory returns the most resident memory that the process ever had, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kib int64
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// askStatus asks a running pipeline for its state.
func askStatus(t *testing.T, url string) (s engine.Status) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// deadEnds starts a pipeline of so many sources that read file, behind workers that
// have their hands full and sinks that take nothing, waits until nothing is read any
// more, and returns what it says then.
func deadEnds(t *testing.T, file, limits string, sources int, far *pit, start func(yaml string) *process) (*process, engine.Status) {
	t.Helper()
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "version: 1\nlimits: {%s}\ndefaults: {edge: {buffer: {bytes: 4MiB}}}\nsources:\n", limits)
	for i := range sources {
		fmt.Fprintf(&yaml, "  in%d: {type: file, paths: [%s]}\n", i, file)
	}
	yaml.WriteString("stages:\n")
	for i := range sources {
		fmt.Fprintf(&yaml, "  parse%d: {type: parse, format: json, workers: 16}\n", i)
	}
	yaml.WriteString("sinks:\n")
	for i := range sources {
		fmt.Fprintf(&yaml, "  out%d: {type: http, url: '%s', request_timeout: 1m}\n", i, far.URL)
	}
	yaml.WriteString("edges:\n")
	for i := range sources {
		fmt.Fprintf(&yaml, "  - in%d -> parse%d -> out%d\n", i, i, i)
	}
	p := start(yaml.String())
	p.await("url=")
	_, url, _ := strings.Cut(p.seen.String(), "url=")
	url = strings.TrimSpace(url) + "api/v1/status"
	for was, deadline := int64(-1), time.Now().Add(30*time.Second); ; time.Sleep(200 * time.Millisecond) { // another process: its time is real
		s := askStatus(t, url)
		read := int64(0)
		for _, in := range s.Sources {
			read += in.Read
		}
		if read == was && read > 0 {
			return p, s
		}
		if was = read; time.Now().After(deadline) {
			t.Fatalf("the sources do not stop reading: %+v, read %d", s.Memory, read)
		}
	}
}

// arrives opens the pit and checks that all events come and the process ends well.
// It returns the most resident memory that the process ever had, in bytes, or that
// this one had when it started it.
func arrives(t *testing.T, p *process, far *pit, want int) (peak int64) {
	t.Helper()
	far.clear()
	p.await("pipeline ended")
	p.exit(0, 20*time.Second)
	if got := far.lines.Load(); got != int64(want) {
		t.Errorf("%d events arrived, want %d", got, want)
	}
	return p.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}

// manyLarge is how many events a source of the tests below reads.
func manyLarge() int {
	if os.Getenv("PIPECTL_TORTURE") != "" {
		return 2000
	}
	return 150
}

// TestMemoryOfAProcess lets events grow from 10 KB to 1 MB while no sink takes any,
// with many edges, and many workers that have their hands full. What the process
// holds stays within limits.memory; then all events arrive. Its resident memory stays
// within four times limits.memory and 64 MiB, which is what docs/operating.md says,
// all the time: also when everything moves at once.
func TestMemoryOfAProcess(t *testing.T) {
	const limit, sources = 64 << 20, 6
	file, far := writeGrowing(t, manyLarge(), 1e6), newPit(t)
	p, s := deadEnds(t, file, "memory: 64MiB, max_event_bytes: 4MiB", sources, far, func(yaml string) *process {
		return startRun(t, yaml, "--admin", "127.0.0.1:0", "--no-live")
	})
	if m := s.Memory; m.Budget != limit || m.Reserved > limit+sources*5<<20 || m.Reserved < limit/2 {
		t.Errorf("%+v, want a budget of %d and little more reserved", m, limit)
	}
	before := peakMemory(t, p.cmd.Process.Pid)
	peak := arrives(t, p, far, sources*manyLarge())
	t.Logf("reserved %d MiB of %d MiB, resident %d MiB while the sinks were dead and %d MiB at most",
		s.Memory.Reserved>>20, limit>>20, before>>20, peak>>20)
	if most := int64(4*limit + memoryReserve); peak > most && !raced {
		t.Errorf("resident memory was %d MiB, more than %d MiB", peak>>20, most>>20)
	}
}

// newGroup makes a control group with so much memory and returns its folder. The
// test is skipped where that cannot be done.
func newGroup(t *testing.T, memory int64) (dir string) {
	t.Helper()
	name := fmt.Sprintf("pipectl-test-%d-%d", os.Getpid(), memory)
	why := "there is no memory controller below /sys/fs/cgroup"
	for _, at := range []struct{ root, file string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		if _, err := os.Stat(filepath.Join(at.root, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(at.root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			why = err.Error()
			continue
		}
		t.Cleanup(func() {
			for range 100 { // the kernel lets go of a process a little after it has ended
				if os.Remove(dir) == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("%s cannot be removed", dir)
		})
		err := os.WriteFile(filepath.Join(dir, at.file), fmt.Append(nil, memory), 0o644)
		if err == nil {
			return dir
		}
		why = err.Error()
	}
	t.Skipf("no control group with limited memory can be made here: %s", why)
	return ""
}

// TestMemoryOfAContainer runs the same without limits.memory in containers that the
// kernel keeps small: the pipeline works out its budget, and lives.
func TestMemoryOfAContainer(t *testing.T) {
	if raced {
		t.Skip("the race detector needs several times the memory")
	}
	const sources = 6
	f := func(container int64, events, last int) {
		t.Helper()
		group := newGroup(t, container)
		file, far := writeGrowing(t, events, last), newPit(t)
		p, s := deadEnds(t, file, "max_event_bytes: 4MiB", sources, far, func(yaml string) *process {
			path := filepath.Join(t.TempDir(), "pipeline.yaml")
			if err := os.WriteFile(path, []byte(yaml), 0o644); err != nil {
				t.Fatal(err)
			}
			p := &process{t: t, cmd: exec.Command("sh", "-c", `echo $$ > "$1/cgroup.procs" && exec pipectl run "$2" --admin 127.0.0.1:0 --no-live`, "sh", group, path)}
			return p.start()
		})
		if want, _ := fitMemory(0, container); s.Memory.Budget != want {
			t.Errorf("the budget is %d, want %d", s.Memory.Budget, want)
		}
		t.Logf("events of up to %d bytes in a container of %d MiB: reserved %d MiB of %d MiB",
			last, container>>20, s.Memory.Reserved>>20, s.Memory.Budget>>20)
		arrives(t, p, far, sources*events)
	}
	f(64<<20, 40*manyLarge(), 2e4)
	f(256<<20, manyLarge(), 1e6)
}
