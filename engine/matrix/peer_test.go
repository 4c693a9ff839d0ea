package matrix

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// peer is a far side that is reached by HTTP.
type peer struct {
	*httptest.Server
	mood     string
	well     atomic.Bool // it behaves from now on
	began    time.Time
	requests atomic.Int64
	journal  *journal
}

func newPeer(t *testing.T, mood string, j *journal) *peer {
	p := &peer{mood: mood, began: time.Now(), journal: j}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k := p.requests.Add(1)
	if !p.well.Load() && p.misbehave(w, r, k) {
		return
	}
	if n, whole := p.take(r); whole {
		p.journal.confirm(runOf(r), n)
	}
}

// runOf returns which run of the cell has sent a request: its path says so.
func runOf(r *http.Request) (run int) {
	fmt.Sscan(r.URL.Path[1:], &run)
	return run
}

// take takes the body. whole is false when it did not come to its end.
func (p *peer) take(r *http.Request) (n int64, whole bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, false
	}
	return p.journal.takeLines(runOf(r), body), true
}

// misbehave treats the k-th request as the peer's mood is. It reports whether that
// was all.
func (p *peer) misbehave(w http.ResponseWriter, r *http.Request, k int64) bool {
	phase := time.Since(p.began) / (25 * time.Millisecond)
	switch {
	case p.mood == slow:
		time.Sleep(4 * time.Millisecond) // of real time: the network's is real
		return false
	case p.mood == flapping && phase%2 == 1:
		w.WriteHeader(http.StatusInternalServerError)
	case p.mood == hanging && phase < 8:
		p.take(r)
		<-r.Context().Done()
	case p.mood == busy && k%3 == 1:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case p.mood == busy && k%3 == 2:
		w.Header().Set("Retry-After", time.Now().Add(3*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
	case p.mood == down && k%2 == 1:
		w.WriteHeader(http.StatusServiceUnavailable)
	case p.mood == reset && k%2 == 1:
		body := make([]byte, r.ContentLength/2)
		io.ReadFull(r.Body, body)
		p.journal.takeLines(runOf(r), body)
		hangUp(w, "", true)
	case p.mood == lost && k%4 == 1:
		p.take(r)
		hangUp(w, "", false)
	case p.mood == lost && k%4 == 3:
		n, _ := p.take(r)
		p.journal.confirm(runOf(r), n)
		hangUp(w, "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{", false)
	default:
		return false
	}
	return true
}

// hangUp ends the connection of a request after a few last words.
func hangUp(w http.ResponseWriter, words string, rudely bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, words)
	if tcp, ok := conn.(*net.TCPConn); ok && rudely {
		tcp.SetLinger(0)
	}
}
