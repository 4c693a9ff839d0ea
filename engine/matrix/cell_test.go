package matrix

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
)

const (
	patience   = 30 * time.Second // with a cell as a whole
	stopWithin = 300 * time.Millisecond
	edgeEvents = 8
	edgeBytes  = 2000
	batchSize  = 16
)

// cell is one pipeline of the matrix, run until all is done: a run that was ended,
// or that failed, is followed by another one, before a far side that is well.
type cell struct {
	place
	t       *testing.T
	r       *rand.Rand
	name    string
	dir     string
	journal journal
	peer    *peer    // nil for those who are no server
	clients *clients // nil unless the source is an http_server

	// Details, by chance.
	concurrency int
	workers     int
	breaker     bool
	nack        bool
	late        bool
	ending      string // of the first run: itself, drain or stop
	after       time.Duration

	dropped int64  // in all runs
	begins  int    // the first event that the present run reads, for files
	saves   string // the checkpoint of the present run
}

func newCell(t *testing.T, p place, detail uint64) *cell {
	c := &cell{place: p, t: t, r: rand.New(rand.NewPCG(detail, 2)), name: fmt.Sprint(detail), dir: t.TempDir()}
	c.concurrency, c.workers = 1+2*c.r.IntN(2), 1+c.r.IntN(3)
	c.breaker, c.late = c.r.IntN(4) == 0, c.r.IntN(2) == 0
	c.nack = p.origin == "http_server" && c.r.IntN(2) == 0 && !samples(p.policy)
	c.ending = []string{"itself", "itself", "drain", "stop"}[c.r.IntN(4)]
	c.after = time.Duration(c.r.IntN(60)) * time.Millisecond
	if p.mood != panics && p.mood != half {
		c.peer = newPeer(t, p.mood, &c.journal)
	}
	cells.Store(c.name, c)
	t.Cleanup(func() { cells.Delete(c.name) })
	return c
}

func (c *cell) run() {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	switch c.origin {
	case "file":
		c.writeFile()
	case "http_server":
		c.clients = &clients{acked: c.answered}
		c.clients.start(ctx, c.t)
		defer c.clients.http.CloseIdleConnections()
		defer c.clients.all.Wait()
		defer cancel()
	}
	for run := 0; ; run++ {
		if c.peer != nil && run > 0 {
			c.peer.well.Store(true)
		}
		if c.runOnce(ctx, run); c.finished() {
			break
		}
		if ctx.Err() != nil {
			c.t.Errorf("not all is done after %d runs and %v: %s", run+1, patience, c)
			return
		}
	}
	c.checkAll()
}

// finished reports whether nothing is left to be read.
func (c *cell) finished() bool {
	switch c.origin {
	case "file":
		return c.mark() == most
	case "http_server":
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.clients.all.Wait()
		}()
		select {
		case <-done:
			return true
		case <-time.After(5 * time.Millisecond):
			return false
		}
	}
	return true // generate makes its events once
}

// String describes the cell's details.
func (c *cell) String() string {
	return fmt.Sprintf("concurrency %d, workers %d, breaker %v, nack %v, late %v, ends by %s after %v",
		c.concurrency, c.workers, c.breaker, c.nack, c.late, c.ending, c.after)
}

// runOnce runs the pipeline once and lets the oracle look at it.
func (c *cell) runOnce(ctx context.Context, run int) {
	c.begins = c.resume(run)
	cfg, diags := config.Parse([]byte(c.yaml(run)), config.Options{File: "cell.yaml"})
	if err := diags.Err(); err != nil {
		c.t.Fatal(err)
	}
	var listening func(url string)
	if c.clients != nil {
		listening = func(url string) { c.clients.url.Store(url) }
	}
	e, err := engine.New(cfg, engine.Options{Log: slog.New(&addressLog{found: listening})})
	if err != nil {
		c.t.Fatal(err)
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	var stopped time.Time
	helper := make(chan struct{})
	go func() {
		defer close(helper)
		stopped = c.accompany(limited, e, run, over)
	}()
	r, err := e.Run(ctx)
	ended := time.Now()
	close(over)
	<-helper
	if c.clients != nil {
		c.clients.url.Store("")
	}
	if err != nil && !c.mayFail() {
		c.t.Errorf("run %d: %v", run, err)
	}
	if late := ended.Sub(stopped); !stopped.IsZero() && late > stopWithin+2*time.Second {
		c.t.Errorf("run %d ended %v after it was told to, with a timeout of %v", run, late, stopWithin)
	}
	c.checkRun(r, run)
}

// mayFail reports whether the policy lets the pipeline fail.
func (c *cell) mayFail() bool { return c.policy == "block-fail" }

// accompany looks at the pipeline until it is over, and ends it when it is time. It
// returns when it did.
func (c *cell) accompany(ctx context.Context, e *engine.Engine, run int, over <-chan struct{}) (stopped time.Time) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var due <-chan time.Time
	if run == 0 && c.ending != "itself" {
		due = time.After(c.after)
	}
	done := make(chan struct{})
	if c.clients != nil {
		go func() {
			c.clients.all.Wait()
			close(done)
		}()
	}
	end := func(f func()) {
		if stopped.IsZero() {
			stopped = time.Now()
		}
		f()
	}
	for {
		select {
		case <-tick.C:
			c.checkNow(e.Status())
		case <-due:
			if c.ending == "stop" {
				end(e.Stop)
			} else {
				end(e.Drain)
			}
		case <-done:
			done = nil
			end(e.Drain)
		case <-ctx.Done():
			return stopped
		case <-over:
			return stopped
		}
	}
}

// yaml is the pipeline: two edges, of which the second one has the policy, and one
// for dead letters.
func (c *cell) yaml(run int) string {
	var y strings.Builder
	fmt.Fprintf(&y, "version: 1\nname: cell\nshutdown: {timeout: %v}\nsources:\n", stopWithin)
	switch c.origin {
	case "file":
		fmt.Fprintf(&y, "  in: {type: file, paths: [%s], codec: ndjson, checkpoint: %s}\n", c.path("in"), c.saves)
	case "http_server":
		y.WriteString("  in: {type: http_server, listen: '127.0.0.1:0', max_wait: 50ms, answer_timeout: 400ms, max_concurrent: 8}\n")
	default:
		fmt.Fprintf(&y, "  in: {type: generate, count: %d, event: {n: seq, pad: '\"%s\"'}}\n", most, strings.Repeat("0", 28))
	}
	fmt.Fprintf(&y, "stages:\n  some: {type: filter, where: 'n %% 10 != 9', workers: %d}\nsinks:\n", c.workers)
	mood := c.mood
	if run > 0 {
		mood = fast
	}
	guards := fmt.Sprintf("batch: {events: %d, interval: 1ms}, retry: {initial: 1ms, max: 15ms, budget: {ratio: 1, burst: 100000}}, concurrency: {max: %d}",
		batchSize, c.concurrency)
	if c.breaker {
		guards += ", breaker: {window: 100ms, wait: 5ms, max_wait: 20ms, half_open: {min_time: 5ms, successes: 1, ramp: 2ms, probe_interval: 1ms}}"
	}
	timeout := 30 * time.Second
	if c.mood == hanging && run == 0 {
		timeout = 50 * time.Millisecond
	}
	if c.peer != nil {
		fmt.Fprintf(&y, "  out: {type: http, url: '%s/%d', request_timeout: %v, %s}\n", c.peer.URL, run, timeout, guards)
	} else {
		fmt.Fprintf(&y, "  out: {type: mean, cell: '%s', run: %d, mood: %s, late: %v, %s}\n", c.name, run, mood, c.late, guards)
	}
	fmt.Fprintf(&y, "  dead: {type: mean, cell: '%s', run: %d, mood: fast, grave: true}\nedges:\n", c.name, run)
	drop := "ack"
	if c.nack {
		drop = "nack"
	}
	bounds := fmt.Sprintf("buffer: {events: %d, bytes: %d}", edgeEvents, edgeBytes)
	fmt.Fprintf(&y, "  - {from: in, to: some, %s}\n  - {from: some, to: out, %s, policy: %s, on_drop: %s}\n  - {from: out.failed, to: dead, %s}\n",
		bounds, bounds, policies[c.policy], drop, bounds)
	return y.String()
}

func (c *cell) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cell) writeFile() {
	var text strings.Builder
	for n := range most {
		text.WriteString(event(n) + "\n")
	}
	if err := os.WriteFile(c.path("in"), []byte(text.String()), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// resume gives a run a checkpoint of its own, a copy of the last one: where a disk is
// slow the run before may still be saving, as its process would not be. It returns
// where the run begins.
func (c *cell) resume(run int) int {
	if c.origin != "file" {
		return 0
	}
	last := c.saves
	c.saves = c.path(fmt.Sprint("mark", run))
	if text, err := os.ReadFile(last); err == nil {
		if err := os.WriteFile(c.saves, text, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.mark()
}

var offset = regexp.MustCompile(`"offset":\s*(\d+)`)

// mark returns up to which event the checkpoint says that the file is done.
func (c *cell) mark() int {
	text, err := os.ReadFile(c.saves)
	if err != nil {
		return 0 // nothing is done yet
	}
	m := offset.FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	if line := len(event(0)) + 1; n%line != 0 {
		c.t.Errorf("the checkpoint is at byte %d, in the middle of a line of %d", n, line)
		return 0
	} else {
		return n / line
	}
}

// addressLog finds the address in the log of an http_server.
type addressLog struct{ found func(url string) }

func (l *addressLog) Enabled(context.Context, slog.Level) bool { return l.found != nil }
func (l *addressLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *addressLog) WithGroup(string) slog.Handler            { return l }

func (l *addressLog) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "address" {
			l.found("http://" + a.Value.String() + "/")
		}
		return true
	})
	return nil
}
