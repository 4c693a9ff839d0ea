package sources

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func newClients(limits HTTPServerPerClient) *clients {
	var t clients
	t.init(limits, func() {})
	return &t
}

// TestClientsRate: a burst, then the rate; who waits as told is let in, who comes
// earlier is not.
func TestClientsRate(t *testing.T) {
	f := func(rate pipe.Rate, burst int, wantBurst int, every time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := newClients(HTTPServerPerClient{Rate: rate, Burst: burst, MaxClients: 10})
			pass := func() *excess {
				who, no := c.enter("a")
				if no == nil {
					c.leave(who)
				}
				return no
			}
			for i := range wantBurst {
				if pass() != nil {
					t.Fatalf("rate %v: request %d of the burst was refused", rate, i+1)
				}
			}
			for i := range 20 {
				no := pass()
				if no == nil || no.wait <= 0 || no.wait > every {
					t.Fatalf("rate %v: request %d after the burst: %+v, want a wait up to %v", rate, i+1, no, every)
				}
				time.Sleep(no.wait - 1)
				if pass() == nil {
					t.Fatalf("rate %v: let in 1 ns early", rate)
				}
				time.Sleep(1 * time.Nanosecond)
				if pass() != nil {
					t.Fatalf("rate %v: refused after the wait it was told", rate)
				}
			}
			time.Sleep(every*time.Duration(wantBurst) - 1) // not quite whole again
			if known, _, _ := c.load(); known != 1 {
				t.Errorf("rate %v: forgotten early", rate)
			}
			for range wantBurst {
				pass()
			}
			if pass() == nil {
				t.Errorf("rate %v: more than the burst after a quiet time", rate)
			}
		})
	}
	f(10, 5, 5, 100*time.Millisecond)
	f(10, 1, 1, 100*time.Millisecond)
	f(10, 0, 10, 100*time.Millisecond)
	f(1./60, 0, 1, time.Minute)
	f(1./60, 3, 3, time.Minute)
	f(2.5, 0, 2, 400*time.Millisecond)
}

// TestClientsKeepToTheRate offers far more than is allowed for long.
func TestClientsKeepToTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClients(HTTPServerPerClient{Rate: 50, Burst: 20, MaxConcurrent: 1000, MaxClients: 100})
		passed := map[string]int{}
		for begin := time.Now(); time.Since(begin) < 100*time.Second; {
			key := strconv.Itoa(rand.IntN(5))
			if who, no := c.enter(key); no == nil {
				passed[key]++
				c.leave(who)
			}
			time.Sleep(rand.N(2 * time.Millisecond))
		}
		for key, n := range passed {
			if want := 20 + 50*100; n < want-60 || n > want {
				t.Errorf("client %s made %d requests in 100 s, want %d", key, n, want)
			}
		}
	})
}

func TestClientsConcurrency(t *testing.T) {
	c := newClients(HTTPServerPerClient{MaxConcurrent: 2, MaxClients: 10})
	a1, _ := c.enter("a")
	a2, _ := c.enter("a")
	if _, no := c.enter("a"); no == nil || no.wait != 0 {
		t.Errorf("the third request of a client: got %+v, want a refusal without a time", no)
	}
	b, no := c.enter("b")
	if no != nil {
		t.Errorf("another client was refused")
	}
	c.leave(a1)
	a3, no := c.enter("a")
	if no != nil {
		t.Errorf("refused though one had left")
	}
	c.leave(a2)
	c.leave(a3)
	c.leave(b)
	if known, open, _ := c.load(); known != 0 || open != 0 {
		t.Errorf("%d are known with %d requests, want none", known, open)
	}
	defer func() {
		if recover() == nil {
			t.Error("leaving twice went unnoticed")
		}
	}()
	c.leave(a3)
}

// TestClientsAreBounded: however many there are, no more than max_clients are
// remembered; those without room share one set of limits, so that coming from many
// addresses opens no more than one limit more.
func TestClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crowded := 0
		var c clients
		c.init(HTTPServerPerClient{Rate: 1, Burst: 3, MaxClients: 100}, func() { crowded++ })
		try := func(n int) (passed int) {
			for i := range n {
				if who, no := c.enter(fmt.Sprint("client ", i)); no == nil {
					passed++
					c.leave(who)
				}
			}
			return passed
		}
		if got, want := try(10000), 100+3; got != want {
			t.Errorf("10000 clients made %d requests, want %d", got, want)
		}
		if known, _, _ := c.load(); known != 100 || crowded != 9900 {
			t.Errorf("%d are remembered and %d found no room, want 100 and 9900", known, crowded)
		}
		if got, want := try(100), 100; got != want { // those remembered still have their own
			t.Errorf("the first 100 made %d requests, want %d", got, want)
		}
		time.Sleep(10 * time.Second) // all are idle now
		if who, no := c.enter("new"); no != nil || who == &c.others {
			t.Error("no room for a new client, though all are idle")
		} else {
			c.leave(who)
		}
		time.Sleep(10 * time.Second)
		for i := range 1000 { // one after another: the idle ones make room
			who, _ := c.enter(fmt.Sprint("later ", i))
			if who == &c.others {
				t.Fatalf("no room for client %d, though all before are idle", i)
			}
			c.leave(who)
			time.Sleep(time.Second)
		}
		if known, _, _ := c.load(); known > 20 {
			t.Errorf("%d are remembered, though only the last can be busy", known)
		}
	})
}

// TestClientsStorm: whatever they do at the same time, in the end nothing is
// counted any more, and never more than is allowed.
func TestClientsStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClients(HTTPServerPerClient{Rate: 1000, Burst: 50, MaxConcurrent: 3, MaxConnections: 2, MaxClients: 20})
		var mu sync.Mutex
		open, conns := map[*client]int{}, map[*client]int{}
		count := func(m map[*client]int, who *client, n, most int) {
			mu.Lock()
			defer mu.Unlock()
			if m[who] += n; m[who] > most {
				t.Errorf("a client has %d, want at most %d", m[who], most)
			}
		}
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				for range 100 {
					key := strconv.Itoa(rand.IntN(40))
					line, ok := c.connect(key)
					if ok {
						count(conns, line, 1, 2)
					}
					who, no := c.enter(key)
					if no == nil {
						count(open, who, 1, 3)
					}
					time.Sleep(rand.N(5 * time.Millisecond))
					if no == nil {
						count(open, who, -1, 3)
						c.leave(who)
					}
					time.Sleep(rand.N(5 * time.Millisecond))
					if ok {
						count(conns, line, -1, 2)
						c.disconnect(line)
					}
				}
			})
		}
		all.Wait()
		if _, open, conns := c.load(); open != 0 || conns != 0 || c.others.open != 0 || c.others.conns != 0 {
			t.Errorf("after the storm %d requests and %d connections are counted, want none", open, conns)
		}
	})
}

// TestHTTPServerLimitsRatePerClient: the one that asks too often hears when to come
// back, and is then let in; the others notice nothing.
func TestHTTPServerLimitsRatePerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.PerClient.Rate, s.PerClient.Burst = 0.2, 2 })
		defer r.run(pipe.Delivered)()
		a, b := r.as("198.51.100.1:1"), r.as("198.51.100.2:1")
		a.want(a.post(`{}`), 200, "1")
		a.want(a.post(`not json`), 400, "") // counts, too
		no := a.post(`{}`)
		a.want(no, 429, `{"error":"too many requests"}`)
		if got := no.header.Get("Retry-After"); got != "5" {
			t.Errorf("Retry-After %q, want 5", got)
		}
		a.url = "http://source/elsewhere"
		a.want(a.post(`{}`), 429, "")
		a.url = r.url
		b.want(b.post(`{}`), 200, "1")
		time.Sleep(3200 * time.Millisecond)
		no = a.post(`{}`)
		a.want(no, 429, "")
		if got := no.header.Get("Retry-After"); got != "2" { // 1.8 s
			t.Errorf("Retry-After %q, want 2", got)
		}
		time.Sleep(2 * time.Second)
		a.want(a.post(`{}`), 200, "1")
		a.want(a.post(`{}`), 429, "")
		want := map[string]int64{"400": 1, "429": 4}
		if got := r.src.Rejected(); !maps.Equal(got, want) {
			t.Errorf("rejected: got %v, want %v", got, want)
		}
	})
}

// TestHTTPServerLimitsConcurrencyPerClient: a client's requests count until they are
// settled, those in line too, and none of them takes a place from others.
func TestHTTPServerLimitsConcurrencyPerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.MaxConcurrent, s.MaxWait, s.PerClient.MaxConcurrent = 2, pipe.Duration(time.Hour), 3
		})
		a, b := r.as("198.51.100.1:1"), r.as("198.51.100.2:1")
		var answers []<-chan httpAnswer
		for range 3 {
			answers = append(answers, a.postLater(`{"a":1}`))
		}
		synctest.Wait()
		if in, waiting, _ := r.src.gate.load(); in != 2 || waiting != 1 {
			t.Fatalf("%d inside, %d waiting, want 2 and 1", in, waiting)
		}
		no := a.post(`{}`)
		a.want(no, 429, `{"error":"too many requests at once"}`)
		if got := no.header.Get("Retry-After"); got != "1" && got != "2" { // 1 s, spread and rounded by chance
			t.Errorf("Retry-After %q, want 1, seldom 2", got)
		}
		waiting := b.postLater(`{"b":1}`)
		synctest.Wait()
		if in, waiting, _ := r.src.gate.load(); in != 2 || waiting != 2 {
			t.Fatalf("%d inside, %d waiting, want 2 and 2", in, waiting)
		}
		first, err := r.read(t.Context())
		if err != nil || len(first) != 2 {
			t.Fatalf("%d events, %v", len(first), err)
		}
		a.want(a.post(`{}`), 429, "") // taken, but not settled
		pipe.Settle(first[:1], pipe.Delivered)
		synctest.Wait()
		answers = append(answers, a.postLater(`{"a":1}`))
		synctest.Wait()
		pipe.Settle(first[1:], pipe.Failed)
		stop := r.run(pipe.Delivered)
		codes := map[int]int{}
		for _, c := range append(answers, waiting) {
			codes[(<-c).code]++
		}
		stop()
		if codes[200] != 4 || codes[500] != 1 {
			t.Errorf("answers %v, want 4 times 200 and once 500", codes)
		}
	})
}

// TestHTTPServerLimitsConcurrencyOfClientsThatLeave: leaving early does not make
// room while the events travel on.
func TestHTTPServerLimitsConcurrencyOfClientsThatLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.PerClient.MaxConcurrent = 1 })
		a := r.as("198.51.100.1:1")
		a.client.Timeout = time.Second
		answer := a.postLater(`{"n":1}`)
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := <-answer; got.err == nil {
			t.Fatalf("got %d, want no answer", got.code)
		}
		a.want(a.post(`{"n":2}`), 429, "")
		pipe.Settle(events, pipe.Delivered)
		defer r.run(pipe.Delivered)()
		a.want(a.post(`{"n":3}`), 200, "")
	})
}

// TestHTTPServerLimitsConnectionsPerClient: further connections are closed at once,
// except those of proxies, and closing one makes room for the next.
func TestHTTPServerLimitsConnectionsPerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.MaxConnections, s.PerClient.MaxConnections, s.TrustedProxies = 50, 3, []string{"10.0.0.0/8"}
			s.ReadTimeout = pipe.Duration(time.Hour)
		})
		dial := func(addr string) (c net.Conn, open bool) {
			t.Helper()
			c, err := r.dialFrom(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, err = c.Read(make([]byte, 1))
			return c, err.Error() != "EOF"
		}
		var open []net.Conn
		for i := range 200 { // without the limit more than max_connections
			c, ok := dial(fmt.Sprintf("198.51.100.7:%d", 1000+i))
			if ok {
				open = append(open, c)
			}
		}
		if len(open) != 3 {
			t.Errorf("%d connections of one client stayed open, want 3", len(open))
		}
		if _, ok := dial("198.51.100.8:1"); !ok {
			t.Error("another client was closed out")
		}
		for i := range 20 {
			if _, ok := dial(fmt.Sprintf("10.0.0.1:%d", 1000+i)); !ok {
				t.Fatal("a proxy was closed out")
			}
		}
		open[0].Close()
		synctest.Wait()
		if _, ok := dial("198.51.100.7:1"); !ok {
			t.Error("closed out though one had left")
		}
		if _, ok := dial("198.51.100.7:2"); ok {
			t.Error("a fourth connection stayed open")
		}
		if got := r.src.Rejected()["429"]; got != 198 {
			t.Errorf("%d were counted, want 198", got)
		}
	})
}
