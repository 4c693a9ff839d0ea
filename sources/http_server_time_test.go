package sources

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// The tests in this file run on a fake clock and a network in memory: times are
// exact.

// TestHTTPServerFlood piles up a thousand clients with a MiB each before a
// pipeline that takes nothing.
func TestHTTPServerFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, places, queue = 1000, 8, 100
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.MaxConcurrent, s.MaxQueue, s.MaxWait = places, queue, pipe.Duration(3*time.Second)
			s.Codec.UnmarshalText([]byte("raw"))
		})
		body := bytes.Repeat([]byte("x"), 1<<20)
		before := heap()
		type result struct {
			answer httpAnswer
			took   time.Duration
		}
		results := make(chan result, clients)
		for range clients {
			go func() {
				began := time.Now()
				req, _ := http.NewRequest("POST", r.url, bytes.NewReader(body))
				results <- result{r.send(req), time.Since(began)}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if in, waiting, peak := r.src.gate.load(); in != places || waiting != queue || peak != places {
			t.Errorf("%d inside, %d waiting, peak %d, want %d, %d, %d", in, waiting, peak, places, queue, places)
		}
		if grown := heap() - before; grown > 100<<20 {
			t.Errorf("1000 bodies of 1 MiB, %d of them inside: memory grew by %d MiB", places, grown>>20)
		}
		at := map[time.Duration]int{}
		for range clients {
			x := <-results
			r.want(x.answer, 503, `{"error":"pipeline is full"}`)
			if n, err := strconv.Atoi(x.answer.header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("Retry-After %q", x.answer.header.Get("Retry-After"))
			}
			at[x.took]++
		}
		// Whoever found no room in the queue hears at once, all others after max_wait; one
		// whose turn comes at that very moment may still hand its events over.
		if at[0] != clients-places-queue || at[3*time.Second]+at[3*time.Second+handover] != places+queue {
			t.Errorf("answers after %v, want %d at once and %d after 3s", at, clients-places-queue, places+queue)
		}
		if got := r.src.Rejected()["503"]; got != clients {
			t.Errorf("%d were counted, want %d", got, clients)
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHTTPServerRetryAfterIsTrue lets a pipeline drain at a known pace and checks
// what refused clients are told against how long it really takes.
func TestHTTPServerRetryAfterIsTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.MaxConcurrent, s.MaxQueue, s.MaxWait = 10, 90, pipe.Duration(time.Minute)
		})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { // a sink that takes 200 ms for each: 5 a second, 100 ahead
			for {
				events, err := r.read(ctx)
				if err != nil {
					return
				}
				for _, e := range events {
					time.Sleep(200 * time.Millisecond)
					pipe.Settle([]*pipe.Event{e}, pipe.Delivered)
				}
			}
		})
		var flooding sync.WaitGroup
		flood, stop := context.WithCancel(t.Context())
		for range 120 {
			flooding.Go(func() {
				for flood.Err() == nil {
					if a := r.post(`{"a":1}`); a.code == 503 {
						time.Sleep(time.Second)
					}
				}
			})
		}
		// Everything above happens at multiples of 200 ms: ask between them, when the line
		// is full again, and not at the instant at which a place in it is free.
		time.Sleep(30*time.Second + 100*time.Millisecond)
		synctest.Wait()
		var said []int
		for range 20 {
			a := r.post(`{"a":1}`)
			n, err := strconv.Atoi(a.header.Get("Retry-After"))
			if a.code != 503 || err != nil {
				t.Errorf("got %d with Retry-After %q, want a refusal", a.code, a.header.Get("Retry-After"))
			}
			said = append(said, n)
		}
		stop()
		took := drainTime(&r.src.gate).Seconds()
		flooding.Wait()
		for _, n := range said {
			if float64(n) < 0.8*took || float64(n) > 1.2*took {
				t.Errorf("said %v, took %.1f s", said, took)
				break
			}
		}
		cancel()
		all.Wait()
	})
}

// TestHTTPServerWaitsForItsTurn: who waits gets in when a place is free, in time.
func TestHTTPServerWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxConcurrent, s.MaxWait = 1, pipe.Duration(time.Second) })
		first := r.postLater(`{"n":1}`)
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second := r.postLater(`{"n":2}`)
		time.Sleep(900 * time.Millisecond)
		pipe.Settle(events, pipe.Delivered)
		r.want(<-first, 200, "1")
		events, err = r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		third := r.postLater(`{"n":3}`)
		began := time.Now()
		r.want(<-third, 503, "pipeline is full")
		if took := time.Since(began); took != time.Second {
			t.Errorf("refused after %v, want max_wait", took)
		}
		pipe.Settle(events, pipe.Delivered)
		r.want(<-second, 200, "1")
	})
}

// TestHTTPServerTakesBackWhatNobodyReads: a request whose events the pipeline does
// not take is refused after max_wait, and its events never come.
func TestHTTPServerTakesBackWhatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxWait = pipe.Duration(time.Second) })
		began := time.Now()
		r.want(r.post(`{"n":1}`), 503, "pipeline is full")
		if took := time.Since(began); took != time.Second {
			t.Errorf("refused after %v, want max_wait", took)
		}
		stop := r.run(pipe.Delivered)
		r.want(r.post(`{"n":2}`), 200, "1")
		stop()
		if len(r.got) != 1 || r.got[0] != `{"n":2}` {
			t.Errorf("got %q, want only what was answered 200", r.got)
		}
	})
}

func TestHTTPServerAnswerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.AnswerTimeout = pipe.Duration(7 * time.Second) })
		answer := r.postLater(`{"n":1}`)
		began := time.Now()
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.want(<-answer, 504, "may still arrive")
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("answered after %v", took)
		}
		if in, _, _ := r.src.gate.load(); in != 1 {
			t.Errorf("%d inside, want the place held until the events are settled", in)
		}
		pipe.Settle(events, pipe.Delivered)
		r.src.AnswerTimeout = 0
		answer = r.postLater(`{"n":2}`)
		if events, err = r.read(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		pipe.Settle(events, pipe.Delivered)
		r.want(<-answer, 200, "1")
	})
}

// TestHTTPServerSlowClients sends parts and then nothing more.
func TestHTTPServerSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxConcurrent, s.ReadTimeout = 2, pipe.Duration(5*time.Second) })
		f := func(sent string, after time.Duration, want string) {
			t.Helper()
			c, err := r.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			began := time.Now()
			go io.WriteString(c, sent) // the source may answer before it has read all
			got, _ := io.ReadAll(c)
			if took := time.Since(began); took < after || took > after+time.Second || !strings.HasPrefix(string(got), want) {
				t.Errorf("%.40q: got %.60q after %v, want %q after %v", sent, got, took, want, after)
			}
		}
		f("POST / HTTP/1.1\r\nHost: x\r\n", 5*time.Second, "")
		f("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"a\"", 5*time.Second, "HTTP/1.1 408 ")
		f("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n", 5*time.Second, "HTTP/1.1 408 ")
		f("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n{", 0, "HTTP/1.1 413 ")
		f("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n", 0, "HTTP/1.1 405 ")
		f("POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", discardIn, "HTTP/1.1 404 ")
		f("POST / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("y", 100<<10)+"\r\n\r\n", 0, "HTTP/1.1 431 ")
		if in, _, _ := r.src.gate.load(); in != 0 {
			t.Errorf("%d places are still held", in)
		}
	})
}

// TestHTTPServerDrain has a request in every state when the drain begins.
func TestHTTPServerDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxConcurrent, s.MaxWait = 3, pipe.Duration(time.Hour) })
		travelling := r.postLater(`{"n":1}`)
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		untaken := r.postLater(`{"n":2}`)
		synctest.Wait()
		slow, err := r.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		io.WriteString(slow, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
		synctest.Wait()
		waiting := r.postLater(`{"n":3}`)
		silent, err := r.dial(t.Context()) // a connection that never asks
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		synctest.Wait()
		if in, line, _ := r.src.gate.load(); in != 3 || line != 1 {
			t.Fatalf("%d inside, %d waiting, want 3 and 1", in, line)
		}
		began := time.Now()
		r.src.Drain()
		r.src.Drain() // once more changes nothing
		f := func(who string, a httpAnswer) {
			t.Helper()
			r.want(a, 503, `{"error":"pipeline is stopping"}`)
			if took := time.Since(began); took > 0 {
				t.Errorf("%s heard after %v", who, took)
			}
			if a.header.Get("Retry-After") == "" {
				t.Errorf("%s was not told when to come back", who)
			}
		}
		f("the untaken", <-untaken)
		f("the waiting", <-waiting)
		f("a new one", r.post(`{"n":4}`))
		if got, _ := io.ReadAll(slow); !strings.HasPrefix(string(got), "HTTP/1.1 503 ") || !strings.Contains(string(got), "\r\nConnection: close\r\n") {
			t.Errorf("the slow one got %q", got)
		}
		select {
		case a := <-travelling:
			t.Errorf("a request in the pipeline was answered %d by the drain", a.code)
		default:
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.read(ctx); err != context.Canceled {
			t.Errorf("read: got %v", err)
		}
		time.Sleep(30 * time.Second)
		pipe.Settle(events, pipe.Delivered)
		r.want(<-travelling, 200, "1")
		began = time.Now()
		if err := r.src.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("close took %v, though everybody had been answered", took)
		}
	})
}

// TestHTTPServerDrainEmptiesTheLine: who waits hears of a drain at once, though no
// place becomes free.
func TestHTTPServerDrainEmptiesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxConcurrent, s.MaxWait = 1, pipe.Duration(time.Hour) })
		travelling := r.postLater(`{"n":1}`)
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waiting := r.postLater(`{"n":2}`)
		synctest.Wait()
		began := time.Now()
		r.src.Drain()
		r.want(<-waiting, 503, "pipeline is stopping")
		r.want(r.post(`{"n":3}`), 503, "pipeline is stopping")
		if took := time.Since(began); took > 0 {
			t.Errorf("they heard after %v", took)
		}
		pipe.Settle(events, pipe.Returned)
		r.want(<-travelling, 503, "pipeline is stopping")
	})
}

// TestHTTPServerClientDoesNotRead: an answer that nobody reads holds up nobody.
func TestHTTPServerClientDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxConcurrent = 1 })
		c, err := r.dial(t.Context()) // without buffers: the answer cannot leave
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{\"n\":1}")
		defer r.run(pipe.Delivered)()
		began := time.Now()
		r.want(r.post(`{"n":2}`), 200, "1")
		if took := time.Since(began); took > 0 {
			t.Errorf("the next request took %v", took)
		}
		r.src.handlers.Wait()
		if took := time.Since(began); took != answerIn {
			t.Errorf("the handler gave up after %v, want %v", took, answerIn)
		}
	})
}

// TestHTTPServerCloseAnswers closes before everything is settled, as after a crash
// of the engine.
func TestHTTPServerCloseAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, nil)
		answer := r.postLater(`{"n":1}`)
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := r.src.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("close took %v", took)
		}
		r.want(<-answer, 503, "pipeline is stopping")
		pipe.Settle(events, pipe.Returned) // late, and harmless
	})
}
