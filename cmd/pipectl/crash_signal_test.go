package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
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
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSource("test_hang", func() pipe.Source { return &hangingSource{} })
	pipe.RegisterStage("test_hang", func() pipe.Stage { return &hangingStage{} })
}

// hangingSource is a source that never gives anything, and never comes back.
type hangingSource struct{}

func (*hangingSource) Read(context.Context, *pipe.Batch) error { select {} }

// hangingStage is a stage that never comes back, whatever its context says.
type hangingStage struct{}

func (*hangingStage) Process(context.Context, []*pipe.Event, *pipe.Out) error { select {} }

// wall is a server that takes events, refuses them, or never answers, by path.
type wall struct {
	*httptest.Server
	taken atomic.Int64
}

func newWall(t *testing.T) *wall {
	w := &wall{}
	w.Server = httptest.NewServer(w)
	t.Cleanup(func() {
		w.CloseClientConnections()
		w.Close()
	})
	return w
}

func (x *wall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
	case strings.HasPrefix(r.URL.Path, "/refuse"):
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	case strings.HasPrefix(r.URL.Path, "/hang"):
		<-r.Context().Done()
	default:
		x.taken.Add(int64(bytes.Count(body, []byte("\n"))))
	}
}

// stubborn are pipelines that do not want to end, and some that do. $URL is the
// wall, $DIR a folder of their own.
var stubborn = []struct{ name, nodes, edges string }{
	{"flows to a file", `sinks: {out: {type: file, path: $DIR/out}}`, `in -> out`},
	{"flows to a server", `sinks: {out: {type: http, url: $URL/take}}`, `in -> out`},
	{"the sink hangs", `sinks: {out: {type: test_hang}}`, `in -> out`},
	{"one of two sinks hangs", `sinks: {out: {type: test_hang}, other: {type: discard}}`, `in -> out, in -> other`},
	{"the sink never opens", `sinks: {out: {type: test_never_opens}}`, `in -> out`},
	{"the server never answers", `sinks: {out: {type: http, url: $URL/hang}}`, `in -> out`},
	{"the server refuses", `sinks: {out: {type: http, url: $URL/refuse, retry: {initial: 1s, max: 1h}}}`, `in -> out`},
	{"nobody listens", `sinks: {out: {type: http, url: 'http://127.0.0.1:1/', retry: {initial: 1h, max: 1h}}}`, `in -> out`},
	{"the disk is full", `sinks: {out: {type: file, path: /dev/full, on_full: wait}}`, `in -> out`},
	{"a batch waits", `sinks: {out: {type: http, url: $URL/take, batch: {events: 1000000, interval: 1h}}}`, `in -> out`},
	{"a batch waits for a server that hangs", `sinks: {out: {type: http, url: $URL/hang, batch: {events: 100, interval: 1h}}}`, `in -> out`},
	{"a stage delays", `stages: {slow: {type: delay, for: 1h}}
sinks: {out: {type: discard}}`, `in -> slow -> out`},
	{"a stage throttles", `stages: {slow: {type: throttle, rate: 1/h}}
sinks: {out: {type: discard}}`, `in -> slow -> out`},
	{"a stage hangs", `stages: {stuck: {type: test_hang, workers: 3}}
sinks: {out: {type: discard}}`, `in -> stuck -> out`},
	{"a stage's buffer is tiny", `stages: {slow: {type: delay, for: 1h}, more: {type: filter, where: 'true', workers: 4}}
sinks: {out: {type: test_hang}}`, `{from: in, to: slow, buffer: 1}, {from: slow, to: more, buffer: 1}, more -> out`},
}

// stubbornSources are what feeds them.
var stubbornSources = []string{
	`in: {type: generate, rate: 20000/s}`,
	`in: {type: generate}`,
	`in: {type: generate, count: 5000}`,
	`in: {type: generate, rate: 10000/s}
  second: {type: test_hang}`,
	`in: {type: file, paths: [$DIR/in], follow: true, checkpoint: $DIR/state}`,
}

// signalled is a process that gets one signal or several.
type signalled struct {
	dir     string
	yaml    string
	timeout time.Duration
	signals int // that it is to get
	cmd     *exec.Cmd
	sent    []time.Time // the signals
	end     time.Time
}

// TestSignalledAtRandom sends one to three signals at random moments to pipelines
// that will not end: each is over within shutdown.timeout, or the second signal,
// plus one second, and its exit code tells the truth.
func TestSignalledAtRandom(t *testing.T) {
	t.Parallel()
	runs, abreast := 45, 6
	if long() {
		runs = 510
	}
	wall := newWall(t)
	var next atomic.Int64
	var mu sync.Mutex
	var latest time.Duration
	var worst string
	codes := map[int]int{}
	var busy sync.WaitGroup
	for range abreast {
		busy.Go(func() {
			for i := int(next.Add(1)) - 1; i < runs; i = int(next.Add(1)) - 1 {
				s := newSignalled(t, i, wall.URL)
				err := s.run(rand.New(rand.NewPCG(uint64(i), 1)))
				if err != nil {
					log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
					t.Errorf("%s, run %d: %v, %d signals\n%s\n%s", stubborn[i%len(stubborn)].name, i, err, len(s.sent), s.yaml, log)
				}
				mu.Lock()
				if s.late() > latest {
					latest, worst = s.late(), stubborn[i%len(stubborn)].name
				}
				codes[s.cmd.ProcessState.ExitCode()]++
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	t.Logf("%d processes, exit codes %v; the last (%s) was over %v after its deadline", runs, codes, worst, latest.Round(time.Millisecond))
}

func newSignalled(t *testing.T, i int, url string) *signalled {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Error(err)
	}
	x := stubborn[i%len(stubborn)]
	source := stubbornSources[i/len(stubborn)%len(stubbornSources)]
	edges := x.edges
	if strings.Contains(source, "second:") {
		edges += ", second -> out"
	}
	s := &signalled{dir: dir, timeout: 300 * time.Millisecond, signals: 1 + i/3%3}
	if s.signals > 1 && i%2 == 0 {
		s.timeout = 30 * time.Second // the second signal is what ends it
	}
	s.yaml = fmt.Sprintf("version: 1\nshutdown: {timeout: %v}\nsources:\n  %s\n%s\nedges: [%s]\n", s.timeout, source, x.nodes, edges)
	s.yaml = strings.NewReplacer("$DIR", dir, "$URL", url).Replace(s.yaml)
	return s
}

// run starts the process, signals it, and looks how it ended.
func (s *signalled) run(rng *rand.Rand) error {
	var in strings.Builder
	for n := range 20_000 {
		fmt.Fprintln(&in, crashLine(n))
	}
	for name, text := range map[string]string{"pipeline.yaml": s.yaml, "in": in.String()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command("pipectl", "run", filepath.Join(s.dir, "pipeline.yaml"), "--receipt", filepath.Join(s.dir, "receipt"), "--no-live")
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		s.cmd.Wait()
		s.end = time.Now()
		close(over)
	}()
	s.signal(rng, over)
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to the log
		<-over
		return fmt.Errorf("it was not over 20 s after the last signal")
	}
	return s.judge()
}

// signal sends the signals, as long as there is somebody to get them. They take
// turns: two that are the same count once when a busy process sees them late.
func (s *signalled) signal(rng *rand.Rand, over <-chan struct{}) {
	wait := time.Duration(rng.Int64N(int64(300 * time.Millisecond)))
	turn := rng.IntN(2)
	for n := range s.signals {
		select {
		case <-over:
			return
		case <-time.After(wait):
		}
		signal := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}[(turn+n)%2]
		if s.cmd.Process.Signal(signal) != nil {
			return
		}
		s.sent = append(s.sent, time.Now())
		wait = 2*sameSignal + time.Duration(rng.Int64N(int64(350*time.Millisecond)))
	}
}

// judge checks when and how the process ended.
func (s *signalled) judge() error {
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	status := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() && status.Signal() != syscall.SIGQUIT && !begun(log) {
		return nil // it was signalled before it had begun, and has opened nothing
	}
	if late := s.late(); late > stopLimit+spare {
		return fmt.Errorf("it was over %v after its deadline", late)
	}
	return s.judgeCode(status.ExitStatus())
}

// late returns how long after its deadline the process was over: shutdown.timeout
// after the first signal, or at the second, or the third.
func (s *signalled) late() time.Duration {
	if len(s.sent) == 0 {
		return 0 // it had ended by itself
	}
	due := s.sent[0].Add(s.timeout)
	for _, at := range s.sent[1:] {
		if at.Before(due) || at == s.sent[len(s.sent)-1] && len(s.sent) == 3 && at.Before(s.end) {
			due = at
		}
	}
	return s.end.Sub(due)
}

// judgeCode checks that the exit code is what the receipt says, and that the
// receipt is right.
func (s *signalled) judgeCode(code int) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "receipt"))
	if code == engine.ExitForced {
		if len(s.sent) < 3 {
			return fmt.Errorf("exit code %d after %d signals", code, len(s.sent))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("exit code %d: %w", code, err)
	}
	var r engine.Receipt
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	b := r.Balance
	left := b.Returned + b.InFlight
	for _, x := range r.Sources {
		left += x.Lost
	}
	switch {
	case code != r.ExitCode:
		err = fmt.Errorf("exit code %d, but the receipt says %d", code, r.ExitCode)
	case b.Error != 0 || b.InFlight != 0 || b.Read+b.Created != b.Delivered+b.DeadLettered+b.Filtered+b.Merged+b.Dropped+b.Failed+b.Returned:
		err = fmt.Errorf("the receipt does not balance")
	case code == engine.ExitDone && left != 0:
		err = fmt.Errorf("exit code 0, but not everything was delivered")
	case code == engine.ExitStopped && left == 0 && !strings.Contains(s.yaml, "test_"):
		err = fmt.Errorf("exit code 3, but nothing was left")
	case code != engine.ExitDone && code != engine.ExitStopped:
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	return s.judgeFile(b.Delivered)
}

// judgeFile compares what is in the output file with what the receipt says.
func (s *signalled) judgeFile(delivered int64) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "out"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if n := int64(bytes.Count(text, []byte("\n"))); n != delivered || !bytes.HasSuffix(text, []byte("\n")) && n > 0 {
		return fmt.Errorf("%d lines are in the file, the receipt says %d", n, delivered)
	}
	return nil
}

// TestSignalledAsItEnds signals processes whose pipeline has ended, while they
// write the receipt: neither the receipt nor the exit code may be lost of it.
func TestSignalledAsItEnds(t *testing.T) {
	t.Parallel()
	receipt := filepath.Join(t.TempDir(), "receipt")
	mustDo(t, syscall.Mkfifo(receipt, 0o600)) // it is not written before somebody reads it
	p := startRun(t, "version: 1\nsources: {in: {type: generate, count: 7}}\nsinks: {out: {type: discard}}\nedges: [in -> out]\n", "--receipt", receipt, "--no-live")
	p.await("pipeline: drained after")
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGINT)
	time.Sleep(20 * time.Millisecond) // until they have arrived
	read := make(chan []byte, 1)
	go func() {
		text, _ := os.ReadFile(receipt)
		read <- text
	}()
	select {
	case text := <-read:
		var r engine.Receipt
		if err := json.Unmarshal(text, &r); err != nil || r.Balance.Delivered != 7 {
			t.Errorf("%v: got %s", err, text)
		}
	case <-time.After(spare):
		t.Fatal("there is no receipt")
	}
	p.exit(engine.ExitDone, spare)
}
