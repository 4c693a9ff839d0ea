package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// flapper is a server that comes and goes. What it answers with 200 it has taken,
// and nothing else.
type flapper struct {
	down atomic.Bool

	mu    sync.Mutex // guards what follows
	taken map[int]int
	n     int
}

func (f *flapper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	switch {
	case err != nil || f.down.Load() && f.n%2 == 0:
		panic(http.ErrAbortHandler) // the connection breaks
	case f.down.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for line := range strings.Lines(string(body)) {
		var e struct{ N int }
		if json.Unmarshal([]byte(line), &e) != nil || e.N == 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f.taken[e.N]++
	}
}

func (f *flapper) arrived() map[int]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken
}

// patient are clients that do as they are told: after a 503 they come back with the
// same event, when Retry-After says so.
type patient struct {
	url     string
	next    atomic.Int64 // the last event that was begun
	acked   atomic.Int64
	refused atomic.Int64
	stop    atomic.Bool // no new events
	wrong   chan string // what must not happen
	all     sync.WaitGroup
}

func (c *patient) begin(clients int) {
	for range clients {
		c.all.Go(func() {
			for !c.stop.Load() {
				c.deliver(c.next.Add(1))
			}
		})
	}
}

// deliver sends one event until it is taken.
func (c *patient) deliver(n int64) {
	for {
		answer, err := http.Post(c.url, "application/json", strings.NewReader(fmt.Sprintf(`{"n":%d}`, n)))
		if err != nil {
			c.complain(err.Error())
			return
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			c.acked.Add(1)
			return
		}
		wait, err := strconv.Atoi(answer.Header.Get("Retry-After"))
		if answer.StatusCode != http.StatusServiceUnavailable || err != nil || wait < 1 || string(body) != "{\"error\":\"pipeline is full\"}\n" {
			c.complain(fmt.Sprintf("answer %d, Retry-After %q, %s", answer.StatusCode, answer.Header.Get("Retry-After"), body))
			return
		}
		c.refused.Add(1)
		time.Sleep(time.Duration(wait) * time.Second)
	}
}

func (c *patient) complain(what string) {
	select {
	case c.wrong <- what:
	default:
	}
}

// drivesFlapping: whenever the server is away the breaker opens and clients are
// refused with 503 and Retry-After; when it is back the breaker closes. In the end
// every event has arrived, and the receipt knows of each.
func drivesFlapping(t *testing.T, r *rig) {
	far := &flapper{taken: map[int]int{}}
	server := httptest.NewServer(far)
	defer server.Close()
	r.env = append(r.env, "URL="+server.URL)
	p := r.start(t)
	defer time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() }).Stop()
	c := &patient{url: "http://" + p.listening() + "/events", wrong: make(chan string, 1)}
	c.begin(64)
	cycles := 2
	if long() {
		cycles = 20
	}
	for range cycles {
		far.down.Store(true)
		p.await("breaker opens")
		before := c.refused.Load()
		for c.refused.Load() == before && len(c.wrong) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		far.down.Store(false)
		p.await("breaker closes")
	}
	c.stop.Store(true)
	c.all.Wait()
	close(c.wrong)
	must(t, len(c.wrong) == 0, "clients get 200, or 503 with Retry-After", <-c.wrong)
	result := p.drained(r)

	sent, got := c.next.Load(), far.arrived()
	repeated := 0
	for _, n := range got {
		repeated += n - 1
	}
	must(t, c.acked.Load() == sent && int64(len(got)) == sent, "every event has arrived and is answered with 200", c.acked.Load(), len(got), sent)
	must(t, repeated == 0, "nothing arrives twice: what the server refused it has not taken", repeated)
	must(t, c.refused.Load() >= int64(cycles), "pressure reaches the clients", c.refused.Load())
	b := result.Balance
	must(t, b.Read == sent && b.Delivered == sent && b.Dropped+b.Failed+b.DeadLettered+b.Filtered == 0, "the receipt balances", sent, b)
	must(t, result.Sources["in"].Acked == sent && result.Sinks["server"].Delivered == sent && result.Sinks["server"].Retries >= int64(cycles),
		"the sink has tried again", result.Sinks["server"], result.Sources["in"])
	t.Logf("%d events, %d times 503, %d retries", sent, c.refused.Load(), result.Sinks["server"].Retries)
}
