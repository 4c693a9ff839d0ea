package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine"
)

// pipes is a listener without a network, for tests in which time is faked.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9464} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// inBubble runs f with a server, in faked time.
func inBubble(t *testing.T, f func(t *testing.T, s *Server, p *pipes, pipeline *fake)) {
	t.Helper()
	cfg := parse(t, smallYAML)
	synctest.Test(t, func(t *testing.T) {
		pipeline, p := &fake{cfg: cfg, state: engine.Running}, newPipes()
		s := newServer(p, Options{Engine: pipeline, Control: controlOf{pipeline}, Recorder: pipeline}, nil, true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		f(t, s, p, pipeline)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

const getStatus = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"

// closedAfter reports how long it took until the server closed c.
func closedAfter(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	c.SetReadDeadline(began.Add(time.Hour))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatalf("the connection is still open after %v: %v", time.Since(began), err)
	}
	return time.Since(began)
}

func TestSlowHeader(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, _ *fake) {
		c, gone := p.dial(), make(chan struct{})
		go func() { // one byte a second, for ever
			defer close(gone)
			for i := range 1000 {
				if _, err := c.Write([]byte{getStatus[i%20]}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		if d := closedAfter(t, c); d > headerWait+time.Second {
			t.Errorf("closed after %v, want %v", d, headerWait)
		}
		c.Close()
		<-gone
	})
}

func TestSilentConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, _ *fake) {
		c := p.dial()
		if d := closedAfter(t, c); d > headerWait+time.Second {
			t.Errorf("closed after %v, want %v", d, headerWait)
		}
		c.Close()
	})
}

func TestSlowBody(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, pipeline *fake) {
		c := p.dial()
		defer c.Close()
		answer := make(chan string, 1)
		began := time.Now()
		go func() {
			all, _ := io.ReadAll(c)
			answer <- string(all)
		}()
		fmt.Fprint(c, "POST /api/v1/apply HTTP/1.1\r\nHost: localhost\r\nX-Pipectl: 1\r\nContent-Type: application/yaml\r\nContent-Length: 100000\r\n\r\n")
		for range 1000 {
			if _, err := c.Write([]byte("#")); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		text := <-answer
		if d := time.Since(began); d > bodyWait+2*time.Second || !strings.HasPrefix(text, "HTTP/1.1 400") {
			t.Errorf("after %v: %s", d, text)
		}
		if pipeline.took() != "" {
			t.Error("half a configuration was applied")
		}
	})
}

func TestIdleConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, _ *fake) {
		c := p.dial()
		defer c.Close()
		fmt.Fprint(c, getStatus)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		resp.Body.Close()
		if d := closedAfter(t, c); d < idleWait-time.Second || d > idleWait+time.Second {
			t.Errorf("closed after %v, want %v", d, idleWait)
		}
	})
}

// More connections than there are places wait, and get one when it is free.
func TestConnectionsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, _ *fake) {
		first := p.dial()
		conns := []net.Conn{first}
		for range maxConns - 1 {
			conns = append(conns, p.dial())
		}
		late := make(chan net.Conn)
		go func() { late <- p.dial() }()
		select {
		case <-late:
			t.Fatal("there is no bound")
		case <-time.After(time.Second):
		}
		first.Close()
		conns = append(conns, <-late)
		for _, c := range conns {
			c.Close()
		}
	})
}

// listen begins to read a stream of the server, message by message.
func listen(t *testing.T, c net.Conn, path string) *bufio.Reader {
	t.Helper()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %v", path, resp)
	}
	return bufio.NewReader(resp.Body)
}

// message reads the next message; its name is empty at the end.
func message(r *bufio.Reader) (event, data string) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", ""
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
		case "":
			return event, data
		case "event":
			event = value
		case "data":
			data = value
		}
	}
}

func TestEventsComeEverySecond(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, pipeline *fake) {
		c := p.dial()
		defer c.Close()
		r := listen(t, c, "/api/v1/events")
		began := time.Now()
		for i := range 200 { // longer than any timeout of a usual request
			event, data := message(r)
			if event != "status" || !strings.Contains(data, `"pipeline":"small"`) || !strings.Contains(data, `"why":{"pipeline":"small"`) {
				t.Fatalf("message %d: %s %s", i, event, data)
			}
		}
		if d := time.Since(began); d != 199*time.Second {
			t.Errorf("200 messages took %v", d)
		}
	})
}

// Two readers cost one explanation, not two.
func TestEventsAreShared(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, pipeline *fake) {
		a, b := p.dial(), p.dial()
		defer a.Close()
		defer b.Close()
		ra, rb := listen(t, a, "/api/v1/events"), listen(t, b, "/api/v1/events")
		for range 10 {
			message(ra)
			message(rb)
		}
		if n := strings.Count(pipeline.took(), "why"); n > 11 {
			t.Errorf("explained %d times for 10 messages to two readers", n)
		}
	})
}

// When the server ends, a stream says the last state and why it ends.
func TestEventsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Server, p *pipes, pipeline *fake) {
		c := p.dial()
		defer c.Close()
		r := listen(t, c, "/api/v1/events")
		message(r)
		pipeline.mu.Lock()
		pipeline.state = engine.Drained
		pipeline.mu.Unlock()
		go s.Close()
		event, data := message(r)
		if event != "status" || !strings.Contains(data, `"outcome":"drained"`) {
			t.Errorf("got %s %s", event, data)
		}
		if event, data = message(r); event != "end" || data != `{"reason":"the pipeline has ended"}` {
			t.Errorf("got %s %s", event, data)
		}
		if event, _ = message(r); event != "" {
			t.Errorf("%s after the end", event)
		}
	})
}

// A client that does not read is cut off; it costs a place, not memory.
func TestSlowReaderIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Server, p *pipes, _ *fake) {
		c := p.dial()
		defer c.Close()
		message(listen(t, c, "/api/v1/events"))
		time.Sleep(streamWait + 3*time.Second)
		synctest.Wait()
		if n := len(s.streams); n != 0 {
			t.Errorf("%d streams are still open", n)
		}
	})
}

// A client that is slow, but not too slow, misses messages and gets new ones.
func TestSlowReaderSkips(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *Server, p *pipes, _ *fake) {
		c := p.dial()
		defer c.Close()
		r := listen(t, c, "/api/v1/events")
		for i := range 5 {
			event, data := message(r)
			at, err := time.Parse(time.RFC3339Nano, strings.Split(strings.Split(data, `"at":"`)[1], `"`)[0])
			if age := time.Since(at); event != "status" || err != nil || age > 6*time.Second {
				t.Errorf("message %d: %s is %v old (%v)", i, event, age, err)
			}
			time.Sleep(5 * time.Second)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Server, p *pipes, _ *fake) {
		var conns []net.Conn
		for range maxStreams {
			c := p.dial()
			listen(t, c, "/api/v1/events")
			conns = append(conns, c)
		}
		c := p.dial()
		fmt.Fprintf(c, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 503") || !strings.Contains(string(answer), "Retry-After: 5") {
			t.Errorf("got %s", answer)
		}
		for _, c := range append(conns, c) {
			c.Close()
		}
		time.Sleep(2 * time.Second)
		if n := len(s.streams); n != 0 {
			t.Errorf("%d places are still taken", n)
		}
	})
}
