package sources

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex // guards what follows
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// lines returns what was logged since the last call, without the times.
func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := regexp.MustCompile(`(?m)^time=\S+ `).ReplaceAllString(l.text.String(), "")
	l.text.Reset()
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

func (l *logged) at(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// TestHTTPServerRequestID: the client's name for a request, or a new one, is in the
// answer, in the metadata of every event and in the log.
func TestHTTPServerRequestID(t *testing.T) {
	var log logged
	r := startHTTPLogged(t, log.at(slog.LevelDebug), nil)
	stop := r.run(pipe.Delivered)
	f := func(sent, want string) {
		t.Helper()
		var headers []string
		if sent != "" {
			headers = []string{"X-Request-Id", sent}
		}
		a := r.post(`[{},{}]`, headers...)
		r.want(a, 200, "2")
		got := a.header.Get("X-Request-Id")
		if ok, err := regexp.MatchString("^"+want+"$", got); !ok || err != nil {
			t.Errorf("sent %q: got %q back, want %q", sent, got, want)
		}
		if n := len(r.ids); n < 2 || r.ids[n-1] != got || r.ids[n-2] != got {
			t.Errorf("sent %q: the events have %q, the answer %q", sent, r.ids, got)
		}
		log.lines()
		no := r.post(`{`, headers...)
		line := fmt.Sprintf("level=DEBUG msg=\"request refused\" code=400 why=\"line 1: .*\" request_id=%s client=127.0.0.1 refused=1", regexp.QuoteMeta(logValue(no.header.Get("X-Request-Id"))))
		if got := log.lines(); len(got) != 1 || !regexp.MustCompile(line).MatchString(got[0]) {
			t.Errorf("logged %q, want %q", got, line)
		}
	}
	const fresh = "[A-Z2-7]{26}"
	f("abc-1", "abc-1")
	f("a=b/c+d:e.f_g~{h}", regexp.QuoteMeta("a=b/c+d:e.f_g~{h}"))
	f(strings.Repeat("x", 128), strings.Repeat("x", 128))
	f(strings.Repeat("x", 129), fresh)
	f("", fresh)
	f("a b", fresh)
	f(`a"b`, fresh)
	f(`a\b`, fresh)
	f("a\tb", fresh)
	f("ä", fresh)
	stop()
	if n := len(r.ids); n != len(r.got) {
		t.Errorf("%d of %d events have an identity", n, len(r.got))
	}
	if one, two := requestID(http.Header{}), requestID(http.Header{}); one == two {
		t.Errorf("two requests are called %s", one)
	}
	if got := requestID(http.Header{"X-Request-Id": {"a", "b"}}); got == "a" || got == "b" {
		t.Errorf("of two headers one was taken: %s", got)
	}
}

// logValue is how the log writes a text.
func logValue(s string) string {
	if strings.ContainsAny(s, `=" `) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// TestHTTPServerSharesMetadata: requests with many events get a batch of their own,
// and what belongs to one never reaches another.
func TestHTTPServerSharesMetadata(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) { s.Headers = []string{"X-Tenant"} })
	sizes := []int{1, sharesMeta, 2, sharesMeta - 1, 3 * sharesMeta, 1}
	var answers []<-chan httpAnswer
	var want, ids []string
	for i, n := range sizes {
		id := fmt.Sprint("r", i)
		headers := []string{"X-Request-Id", id}
		tenant := ""
		if i%2 == 1 {
			headers, tenant = append(headers, "X-Tenant", id), "X-Tenant="+id
		}
		answers = append(answers, r.postLater("["+strings.Repeat("{},", n-1)+"{}]", headers...))
		until(t, "it can be read", func() bool { return r.src.inbox.waiting() == i+1 })
		want = append(want, slices.Repeat([]string{tenant}, n)...)
		ids = append(ids, slices.Repeat([]string{id}, n)...)
	}
	stop := r.run(pipe.Delivered)
	for i, a := range answers {
		r.want(<-a, 200, fmt.Sprint(sizes[i]))
	}
	stop()
	if !slices.Equal(r.meta, want) || !slices.Equal(r.ids, ids) {
		t.Errorf("got %q of %q, want %q of %q", r.meta, r.ids, want, ids)
	}
}

// TestHTTPServerLogsRefusals: what clients do wrong does not fill the log, and want
// of room is a warning every ten seconds with how many were refused.
func TestHTTPServerLogsRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		r := startHTTPInMemoryLogged(t, log.at(slog.LevelInfo), func(s *HTTPServer) { s.MaxWait, s.PerClient.Rate, s.PerClient.Burst = 0, 0.001, 160 })
		log.lines()
		check := func(want ...string) {
			t.Helper()
			if got := log.lines(); !slices.Equal(got, want) {
				t.Errorf("logged %q, want %q", got, want)
			}
		}
		for range 50 {
			r.post(`{`)
		}
		check()
		for i := range 100 {
			r.post(`{}`, "X-Request-Id", fmt.Sprint("r", i))
		}
		check(`level=WARN msg="request refused" code=503 why="pipeline is full" request_id=r0 client=pipe refused=1`)
		time.Sleep(10 * time.Second)
		r.post(`{}`, "X-Request-Id", "later")
		check(`level=WARN msg="request refused" code=503 why="pipeline is full" request_id=later client=pipe refused=100`)
		for r.post(`{}`, "X-Request-Id", "r").code != 429 {
		}
		if got := log.lines(); len(got) != 1 || got[0] != `level=WARN msg="request refused" code=429 why="too many requests" request_id=r client=pipe refused=1` {
			t.Errorf("logged %q", got)
		}
		time.Sleep(20 * time.Second)
		r.src.Drain()
		r.want(r.post(`{}`), 503, "stopping")
		check()
	})
}

// TestHTTPServerContainsPanics: a defect met by one request is answered, logged, and
// costs nobody a place.
func TestHTTPServerContainsPanics(t *testing.T) {
	var log logged
	r := startHTTPLogged(t, log.at(slog.LevelInfo), func(s *HTTPServer) { s.MaxConcurrent, s.PerClient.MaxConcurrent = 1, 1 })
	log.lines()
	for range 3 {
		w := httptest.NewRecorder()
		req := httptest.NewRequest("POST", "/", panics{})
		req.Header.Set("X-Request-Id", "bad")
		r.src.ServeHTTP(timeless{w}, req)
		if w.Code != 500 || w.Body.String() != "{\"error\":\"something went wrong\"}\n" || w.Header().Get("X-Request-Id") != "bad" {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		got := log.lines()
		if len(got) == 0 || !strings.HasPrefix(got[0], `level=ERROR msg="BUG: a request panicked" request_id=bad client=192.0.2.1 panic="a defect" stack=`) {
			t.Errorf("logged %q", got)
		}
	}
	defer r.run(pipe.Delivered)()
	r.want(r.post(`{}`), 200, "1")
}

// timeless is an answer that takes deadlines and ignores them.
type timeless struct{ *httptest.ResponseRecorder }

func (timeless) SetReadDeadline(time.Time) error  { return nil }
func (timeless) SetWriteDeadline(time.Time) error { return nil }

// TestHTTPServerForgetsBodiesOfBrokenConnections: a connection that breaks just
// before its body would be read leaves nothing behind.
func TestHTTPServerForgetsBodiesOfBrokenConnections(t *testing.T) {
	r := startHTTP(t, nil)
	w := httptest.NewRecorder()
	r.src.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(`{}`))) // the recorder takes no deadlines
	if w.Code != 400 || !strings.Contains(w.Body.String(), "the body ended early") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if n := len(r.src.bodies.open); n != 0 {
		t.Errorf("%d bodies are still thought to arrive, want none", n)
	}
}

type panics struct{}

func (panics) Read([]byte) (int, error) { panic("a defect") }

// TestHTTPServerHealth: load balancers see how much is taken, without a token, and
// whatever happens to other requests.
func TestHTTPServerHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.Health, s.Token, s.PerClient.Rate, s.PerClient.Burst = "/health/load", "s3cret", 1, 12
			s.MaxConcurrent, s.MaxQueue, s.MaxWait = 10, 2, pipe.Duration(time.Hour)
		})
		probe := func(method string) httpAnswer {
			req, _ := http.NewRequest(method, "http://source/health/load", nil)
			return r.send(req)
		}
		check := func(code int, load float64) {
			t.Helper()
			a := probe("GET")
			var got map[string]float64
			if err := json.Unmarshal([]byte(a.text), &got); err != nil || a.code != code || len(got) != 2 || got["load"] != load || got["limit"] != 0.8 {
				t.Errorf("got %d %s, want %d with load %v", a.code, a.text, code, load)
			}
			if got := probe("HEAD").code; got != code {
				t.Errorf("HEAD: got %d, want %d", got, code)
			}
		}
		check(200, 0)
		var answers []<-chan httpAnswer
		more := func(n int) {
			for range n {
				answers = append(answers, r.postLater(`{}`, "Authorization", "Bearer s3cret"))
				synctest.Wait()
			}
		}
		more(7)
		check(200, 0.7)
		more(1)
		check(503, 0.8)
		more(4)
		check(503, 1.2)
		r.want(r.post(`{}`, "Authorization", "Bearer s3cret"), 429, "")
		r.want(probe("POST"), 405, "use GET")
		stop := r.run(pipe.Delivered)
		for _, a := range answers {
			r.want(<-a, 200, "1")
		}
		check(200, 0)
		stop()
		r.src.Drain()
		a := probe("GET")
		r.want(a, 503, `{"error":"pipeline is stopping"}`)
	})
	r := startHTTP(t, nil)
	resp, err := r.client.Get("http://source/health/load")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("without the option: got %d, want 404", resp.StatusCode)
	}
}
