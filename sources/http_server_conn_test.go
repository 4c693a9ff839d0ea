package sources

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// The tests in this file are about connections, on a fake clock and a network in
// memory.

// TestHTTPServerExpectContinue: a client that asks first sends no body in vain.
func TestHTTPServerExpectContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxConcurrent, s.MaxQueue = 1, 0 })
		head := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"
		first, err := r.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		io.WriteString(first, head)
		answers := bufio.NewReader(first)
		if line, _ := answers.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q", line)
		}
		second, err := r.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		began := time.Now()
		io.WriteString(second, head)
		if line, _ := bufio.NewReader(second).ReadString('\n'); line != "HTTP/1.1 503 Service Unavailable\r\n" || time.Since(began) > 0 {
			t.Errorf("got %q after %v", line, time.Since(began))
		}
		answers.ReadString('\n')
		io.WriteString(first, `{"n":1}`)
		stop := r.run(pipe.Delivered)
		if line, _ := answers.ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" {
			t.Errorf("got %q", line)
		}
		stop()
	})
}

// TestHTTPServerBoundsConnections: one more than allowed stays outside until
// another leaves.
func TestHTTPServerBoundsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxConnections = 2 })
		var open []net.Conn
		for range 2 {
			c, err := r.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := r.dial(ctx); err != context.DeadlineExceeded {
			t.Errorf("the third connection: got %v", err)
		}
		open[0].Close()
		c, err := r.dial(t.Context())
		if err != nil {
			t.Error(err)
		}
		c.Close()
		open[1].Close()
	})
}

// TestHTTPServerKeepsAlive: refusals do not cost a connection each.
func TestHTTPServerKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.MaxWait = 0 })
		dials := 0
		dial := r.dial
		r.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials++
			return dial(ctx)
		}
		for i := range 50 {
			r.want(r.post(fmt.Sprintf(`{"n":%d}`, i)), 503, "full")
			r.want(r.post(`{`), 400, "line 1")
			r.want(r.post(`{}`, "Content-Type", "image/png"), 415, "")
			r.want(r.post(strings.Repeat(`{}`, 50<<10), "Content-Encoding", "br"), 415, "")
		}
		if dials != 1 {
			t.Errorf("200 requests took %d connections, want 1", dials)
		}
	})
}

// TestHTTPServerContinuesAfterAPause: the time that a client had for reading its
// last answer says nothing about the next request on its connection.
func TestHTTPServerContinuesAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, nil)
		defer r.run(pipe.Delivered)()
		c, err := r.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		answers := bufio.NewReader(c)
		for range 3 {
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n")
			if line, err := answers.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			answers.ReadString('\n')
			io.WriteString(c, `{"n":1}`)
			resp, err := http.ReadResponse(answers, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("got %v, %v", resp, err)
			}
			io.Copy(io.Discard, resp.Body)
			time.Sleep(3 * answerIn)
		}
	})
}
