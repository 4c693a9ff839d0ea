package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// farSide is the server that an http sink sends to. It counts what it has taken
// before it answers; some answers get lost.
type farSide struct {
	*httptest.Server

	mu    sync.Mutex // guards what follows
	was   arrivals   // of earlier runs: what they sent may come late
	is    arrivals
	run   string // path of the last run's requests
	alien error
	rng   *rand.Rand
	loses bool // one answer in fifty
}

func newFarSide(lines int, loses bool, seed uint64) *farSide {
	f := &farSide{was: make(arrivals, lines), is: make(arrivals, lines), loses: loses, rng: rand.New(rand.NewPCG(seed, 9))}
	f.Server = httptest.NewServer(f)
	return f
}

func (f *farSide) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		body, err = wholeMembers(body)
	}
	if err != nil {
		return // the process was killed while it sent: nothing is taken
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for line := range bytes.Lines(body) {
		text := strings.TrimSuffix(string(line), "\n")
		f.alien = errors.Join(f.alien, f.is.add(text))
		if r.URL.Path != f.run {
			f.was.add(text)
		}
	}
	if f.loses && f.rng.IntN(50) == 0 {
		panic(http.ErrAbortHandler)
	}
}

func (f *farSide) begin(run int) (args []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.run = fmt.Sprintf("/%d", run)
	f.was = slices.Clone(f.is)
	return []string{"--set", "sinks.out.url=" + f.URL + f.run}, nil
}

func (f *farSide) arrived() (was, is arrivals, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.was), slices.Clone(f.is), f.alien
}

// crashClients send lines to an http_server source. What was not answered with 200
// they send again, as good clients do.
type crashClients struct {
	url    string
	lines  int
	cancel context.CancelFunc
	busy   sync.WaitGroup

	mu    sync.Mutex // guards what follows
	next  int
	sent  arrivals // how often each line was sent
	acked []bool
	open  int // lines not acked
	odd   error
}

// newCrashClients starts n clients. They are quick: pace is what slows them.
func newCrashClients(n, lines int, seed uint64) (*crashClients, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	c := &crashClients{url: "http://" + address + "/", lines: lines, cancel: cancel, open: lines, sent: make(arrivals, lines), acked: make([]bool, lines)}
	for i := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		c.busy.Go(func() {
			client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for c.one(ctx, client, rng) {
			}
		})
	}
	return c, nil
}

func (c *crashClients) stop() {
	c.cancel()
	c.busy.Wait()
}

// address is where the source is to listen.
func (c *crashClients) address() string {
	return strings.Trim(strings.TrimPrefix(c.url, "http://"), "/")
}

// one sends one request until it is answered with 200. It reports false when there
// is nothing more to send.
func (c *crashClients) one(ctx context.Context, client *http.Client, rng *rand.Rand) bool {
	from, to := c.take(1 + rng.IntN(40))
	if from == to {
		return false
	}
	var body strings.Builder
	for n := from; n < to; n++ {
		body.WriteString(crashLine(n) + "\n")
	}
	for ctx.Err() == nil {
		c.count(from, to, 1)
		acked, heard := c.post(ctx, client, body.String())
		if acked {
			c.ack(from, to)
			return true
		}
		if !heard {
			c.count(from, to, -1)
		}
		time.Sleep(time.Duration(1+rng.IntN(10)) * time.Millisecond)
	}
	return false
}

func (c *crashClients) take(n int) (from, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from = c.next
	c.next = min(c.lines, c.next+n)
	return from, c.next
}

func (c *crashClients) count(from, to, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := from; n < to; n++ {
		c.sent[n] += times
	}
}

func (c *crashClients) ack(from, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := from; n < to; n++ {
		c.acked[n] = true
	}
	c.open -= to - from
}

// post sends body. It is not heard when nobody listens.
func (c *crashClients) post(ctx context.Context, client *http.Client, body string) (acked, heard bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		c.note(err)
		return false, false
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := client.Do(req)
	if err != nil {
		return false, !errors.Is(err, syscall.ECONNREFUSED)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch code := resp.StatusCode; {
	case code == http.StatusOK && err == nil:
		return true, true
	case code == http.StatusOK, code == http.StatusServiceUnavailable, code == http.StatusTooManyRequests:
	default:
		c.note(fmt.Errorf("a client got %d %s", code, text))
	}
	return false, true
}

func (c *crashClients) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.odd = errors.Join(c.odd, err)
}

func (c *crashClients) begin(*world) error { return nil }

// check demands that everything acknowledged has arrived, and that no line
// arrived more often than it was sent.
func (c *crashClients) check(w *world, was, is arrivals) error {
	c.mu.Lock()
	acked, sent, odd := slices.Clone(c.acked), slices.Clone(c.sent), c.odd
	c.mu.Unlock()
	if odd != nil {
		return odd
	}
	for n := range acked {
		if acked[n] && is[n] == 0 {
			return fmt.Errorf("line %d was acknowledged and is lost", n)
		}
		if is[n] > sent[n] && !w.loses {
			return fmt.Errorf("line %d was sent %d times and arrived %d times", n, sent[n], is[n])
		}
	}
	w.longest = max(w.longest, again(was, is))
	return nil
}

func (c *crashClients) complete(w *world) error {
	for range 2000 {
		c.mu.Lock()
		open := c.open
		c.mu.Unlock()
		if open == 0 {
			return w.terminate()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("not everything was acknowledged within 20 s")
}
