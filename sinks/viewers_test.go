package sinks

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// live is a sink with viewers: what sse and websocket have in common for tests.
type live interface {
	pipe.Sink
	pipe.Opener
	pipe.Closer
	at() *site
	people() *crowd
}

func (s *SSE) people() *crowd       { return &s.crowd }
func (s *WebSocket) people() *crowd { return &s.crowd }

// audience is somebody who looks, and what was shown.
type audience struct {
	mu      sync.Mutex // guards what follows
	lines   []string
	dropped int
	over    chan struct{}
}

func (a *audience) saw(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, line)
}

func (a *audience) lost(notice string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n struct{ Dropped int }
	json.Unmarshal([]byte(notice), &n)
	a.dropped += n.Dropped
}

// await waits until n events were shown or lost.
func (a *audience) await(t testing.TB, n int) []string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		seen, lines := len(a.lines)+a.dropped, slices.Clone(a.lines)
		a.mu.Unlock()
		if seen >= n {
			return lines
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d events were shown or lost", seen, n)
		}
	}
}

// watchSSE looks at a stream until the test or the stream ends; it reads nothing
// before hold is closed.
func watchSSE(t testing.TB, url string, hold ...<-chan struct{}) *audience {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("%v, %v", answer, err)
	}
	a := &audience{over: make(chan struct{})}
	t.Cleanup(func() { cancel(); <-a.over })
	go func() {
		defer close(a.over)
		defer answer.Body.Close()
		for _, h := range hold {
			<-h
		}
		in := bufio.NewReader(answer.Body)
		var data []string
		event := ""
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimSuffix(line, "\n")
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				data = append(data, text)
			}
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				event = name
			}
			if line != "" || data == nil {
				continue
			}
			if event == "dropped" {
				a.lost(data[0])
			} else {
				a.saw(strings.Join(data, "\n"))
			}
			data, event = nil, ""
		}
	}()
	return a
}

// watchSocket does the same over a WebSocket.
func watchSocket(t testing.TB, url string, hold ...<-chan struct{}) *audience {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	a := &audience{over: make(chan struct{})}
	t.Cleanup(func() { cancel(); <-a.over })
	go func() {
		defer close(a.over)
		defer c.CloseNow()
		for _, h := range hold {
			<-h
		}
		for {
			_, m, err := c.Read(ctx)
			if err != nil {
				return
			}
			if notice, ok := strings.CutPrefix(string(m), `{"pipectl":`); ok {
				a.lost(strings.TrimSuffix(notice, "}"))
			} else {
				a.saw(string(m))
			}
		}
	}()
	return a
}

// watching begins to look.
type watching func(t testing.TB, url string, hold ...<-chan struct{}) *audience

// watched is a sink with somebody who looks from the start.
type watched struct {
	live
	t       *testing.T
	look    watching
	a       *audience
	written int
}

func (w *watched) Open(ctx context.Context, env pipe.Env) error {
	if err := w.live.Open(ctx, env); err != nil {
		return err
	}
	w.a = w.look(w.t, "http://"+w.at().address()+"/")
	return nil
}

func (w *watched) Write(ctx context.Context, in []*pipe.Event) error {
	err := w.live.Write(ctx, in)
	if err == nil {
		w.written += len(in)
	}
	return err
}

// forms are the two sinks.
func forms(t *testing.T, f func(t *testing.T, fresh func(buffer, bytes, most int) live, look watching)) {
	t.Run("sse", func(t *testing.T) {
		f(t, func(buffer, bytes, most int) live {
			return fresh(t, "sse", func(s *SSE) {
				s.Listen, s.Path, s.Codec, s.Buffer, s.BufferBytes, s.MaxViewers = "127.0.0.1:0", "/", codec.Lines(), buffer, pipe.Size(bytes), most
			})
		}, watchSSE)
	})
	t.Run("websocket", func(t *testing.T) {
		f(t, func(buffer, bytes, most int) live {
			return fresh(t, "websocket", func(s *WebSocket) {
				s.Listen, s.Path, s.Codec, s.Buffer, s.BufferBytes, s.MaxViewers = "127.0.0.1:0", "/", codec.Lines(), buffer, pipe.Size(bytes), most
			})
		}, watchSocket)
	})
}

func TestViewersConformance(t *testing.T) {
	forms(t, func(t *testing.T, fresh func(int, int, int) live, look watching) {
		pipetest.Sink(t, pipetest.SinkCase{
			New: func(t *testing.T) pipe.Sink {
				return &watched{live: fresh(100_000, 64<<20, 10), t: t, look: look}
			},
			Written: func(t *testing.T, s pipe.Sink) []string {
				w := s.(*watched)
				return w.a.await(t, w.written)
			},
		})
	})
}

// TestViewersNobody: without viewers everything is confirmed and nothing is kept.
func TestViewersNobody(t *testing.T) {
	forms(t, func(t *testing.T, fresh func(int, int, int) live, look watching) {
		s := fresh(10, 1000, 1)
		open(t, s)
		write(t, s, numbered(0, 1000)...)
		a := look(t, "http://"+s.at().address()+"/")
		awaitViewers(t, s, 1)
		write(t, s, "now")
		if got := a.await(t, 1); !slices.Equal(got, []string{"now"}) {
			t.Errorf("got %q", got)
		}
	})
}

func awaitViewers(t testing.TB, s live, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); s.people().count() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there are %d viewers, want %d", s.people().count(), n)
		}
	}
}

// TestViewersSlow: one that does not read holds nobody back, and is told in the end
// how much it missed.
func TestViewersSlow(t *testing.T) {
	forms(t, func(t *testing.T, fresh func(int, int, int) live, look watching) {
		s := fresh(20, 1<<30, 10)
		open(t, s)
		hold := make(chan struct{})
		a := look(t, "http://"+s.at().address()+"/", hold)
		awaitViewers(t, s, 1)
		line := strings.Repeat("x", 100<<10)
		began := time.Now()
		const rounds = 200 // 20 MiB, more than sockets hold
		for range rounds {
			write(t, s, line)
			time.Sleep(100 * time.Microsecond) // the viewer's handler takes some of it
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("a slow viewer held the sink back for %v", d)
		}
		close(hold)
		got := a.await(t, rounds)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.dropped == 0 || len(got)+a.dropped != rounds || got[len(got)-1] != line {
			t.Errorf("%d shown and %d dropped of %d", len(got), a.dropped, rounds)
		}
	})
}

// TestViewersBound: no more than max_viewers, and a place is free again afterwards.
func TestViewersBound(t *testing.T) {
	forms(t, func(t *testing.T, fresh func(int, int, int) live, look watching) {
		s := fresh(10, 1000, 1)
		open(t, s)
		url := "http://" + s.at().address() + "/"
		t.Run("first", func(t *testing.T) {
			look(t, url)
			awaitViewers(t, s, 1)
			if status, text := get(t, url); status != 503 || !strings.Contains(text, "max_viewers") {
				t.Errorf("got %d %s", status, text)
			}
		})
		awaitViewers(t, s, 0)
		look(t, url)
	})
}

// TestViewersEnd: what was handed over before the end is shown.
func TestViewersEnd(t *testing.T) {
	forms(t, func(t *testing.T, fresh func(int, int, int) live, look watching) {
		s := fresh(1000, 1<<20, 1)
		shut := open(t, s)
		a := look(t, "http://"+s.at().address()+"/")
		awaitViewers(t, s, 1)
		write(t, s, numbered(0, 500)...)
		shut()
		<-a.over
		if got := a.await(t, 500); !slices.Equal(got, numbered(0, 500)) {
			t.Errorf("got %d events", len(got))
		}
	})
}

// TestViewersEndOfOneThatHangs: closing does not wait for who does not read.
func TestViewersEndOfOneThatHangs(t *testing.T) {
	forms(t, func(t *testing.T, fresh func(int, int, int) live, look watching) {
		s := fresh(1000, 1<<30, 1)
		shut := open(t, s)
		slow, err := net.Dial("tcp", s.at().address())
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		fmt.Fprintf(slow, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		awaitViewers(t, s, 1)
		for range 20 {
			write(t, s, strings.Repeat("x", 1<<20))
		}
		began := time.Now()
		shut()
		if d := time.Since(began); d > 4*time.Second {
			t.Errorf("closing took %v", d)
		}
	})
}

func TestViewersGate(t *testing.T) {
	g := gate{token: "se cret", origins: []string{"https://dash.example"}}
	s := fresh(t, "sse", func(s *SSE) { s.Listen, s.Token, s.Origins = "127.0.0.1:0", g.token, g.origins })
	open(t, s)
	w := fresh(t, "websocket", func(s *WebSocket) {
		s.Listen, s.Path, s.Token, s.Origins = "127.0.0.1:0", "/events", g.token, g.origins
	})
	open(t, w)
	f := func(want int, path string, header ...string) {
		t.Helper()
		for _, at := range []string{s.site.address(), w.site.address()} {
			ctx, cancel := context.WithCancel(t.Context())
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+path, nil)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			if at == w.site.address() {
				for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
					r.Header.Set(k, v)
				}
				if want == 200 {
					want = 101
				}
			}
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			answer, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != want {
				text, _ := io.ReadAll(io.LimitReader(answer.Body, 100))
				t.Errorf("%s%s with %q: got %d %s, want %d", at, path, header, answer.StatusCode, text, want)
			}
			cancel()
			answer.Body.Close()
		}
	}
	auth := "Bearer se cret"
	f(200, "/events", "Authorization", auth)
	f(200, "/events?token=se%20cret")
	f(401, "/events")
	f(401, "/events?token=wrong")
	f(401, "/events", "Authorization", "se cret")
	f(404, "/", "Authorization", auth)
	f(403, "/events", "Authorization", auth, "Origin", "https://evil.example")
	f(403, "/events", "Authorization", auth, "Origin", "null")
	f(200, "/events", "Authorization", auth, "Origin", "https://dash.example")
	answer, err := http.Post("http://"+s.site.address()+"/events", "text/plain", nil)
	if err != nil || answer.StatusCode != 405 {
		t.Errorf("%v, %v", answer, err)
	}
	answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	same := &http.Request{Host: "Dash.local:9210", Header: http.Header{"Origin": {"http://dash.local:9210"}}}
	if !g.originAllowed(same) {
		t.Error("a page of the very address may not read")
	}
}

func TestViewersValidate(t *testing.T) {
	for _, bad := range []pipe.Validator{
		&SSE{Listen: "9210", Path: "/", Codec: codec.NDJSON()},
		&SSE{Listen: ":0", Path: "events", Codec: codec.NDJSON()},
		&SSE{Listen: ":0", Path: "/", Codec: codec.CSV()},
		&SSE{Listen: ":0", Path: "/", Codec: codec.NDJSON(), Origins: []string{"dash.example"}},
		&WebSocket{Listen: ":0", Path: "/?a", Codec: codec.NDJSON()},
		&WebSocket{Listen: ":0", Path: "/", Codec: codec.NDJSON(), Origins: []string{"https://dash.example/"}},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}

func TestSSELines(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := string(eventMessage([]byte(text))); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("one", "data: one\n\n")
	f("", "data: \n\n")
	f("a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n")
}

// TestSiteIsTaken names the port that another process has.
func TestSiteIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := fresh(t, "sse", func(s *SSE) { s.Listen = ln.Addr().String() })
	if err := s.Open(t.Context(), pipetest.Env()); err == nil || !strings.Contains(err.Error(), "already in use") {
		t.Errorf("got %v", err)
	}
}
