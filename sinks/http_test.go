package sinks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

// far is the far side: it keeps what it confirms.
type far struct {
	*httptest.Server

	mu       sync.Mutex // guards what follows
	requests []*http.Request
	bodies   []string
	conns    map[string]bool
	hang     chan struct{}
	answer   func(w http.ResponseWriter, r *http.Request) // nil confirms
	read     map[*http.Request]string                     // the bodies for answer, when it is not nil
}

func newFar(t testing.TB, start func(*httptest.Server)) *far {
	f := &far{conns: map[string]bool{}}
	f.Server = httptest.NewUnstartedServer(f)
	start(f.Server)
	t.Cleanup(f.Close)
	return f
}

func (f *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hang, answer := f.hang, f.answer
	f.conns[r.RemoteAddr] = true
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	c := codec.Compression(r.Header.Get("Content-Encoding"))
	if c == "" {
		c = codec.CompressNone
	}
	plain, err := codec.Decompress(r.Body, c, 8<<20)
	if err == nil {
		defer plain.Close()
		var body []byte
		if body, err = io.ReadAll(plain); err == nil {
			f.mu.Lock()
			f.requests = append(f.requests, r)
			if answer == nil {
				f.bodies = append(f.bodies, string(body))
			} else if f.read != nil {
				f.read[r] = string(body)
			}
			f.mu.Unlock()
		}
	}
	if err != nil {
		return // the client went away
	}
	if answer != nil {
		answer(w, r)
	}
}

func (f *far) set(answer func(http.ResponseWriter, *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *far) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.bodies, "")
}

func (f *far) last() *http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[len(f.requests)-1]
}

func status(code int, header, value string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set(header, value)
		}
		w.WriteHeader(code)
		io.WriteString(w, "  because\n\tof this ")
	}
}

func httpTo(t testing.TB, f *far, set func(*HTTP)) *HTTP {
	return fresh(t, "http", func(s *HTTP) {
		s.URL = f.URL + "/in?key=topsecret"
		if set != nil {
			set(s)
		}
	})
}

func TestHTTPConformance(t *testing.T) {
	f := func(name string, set func(*HTTP)) {
		t.Run(name, func(t *testing.T) {
			sides := map[pipe.Sink]*far{}
			pipetest.Sink(t, pipetest.SinkCase{
				New: func(t *testing.T) pipe.Sink {
					f := newFar(t, (*httptest.Server).Start)
					s := httpTo(t, f, func(s *HTTP) {
						s.Codec = codec.Lines()
						set(s)
					})
					sides[s] = f
					return s
				},
				Written: func(_ *testing.T, s pipe.Sink) []string { return splitLines(sides[s].text()) },
				Hang: func(_ *testing.T, s pipe.Sink) func() {
					f, hang := sides[s], make(chan struct{})
					f.mu.Lock()
					f.hang = hang
					f.mu.Unlock()
					return sync.OnceFunc(func() {
						f.mu.Lock()
						f.hang = nil
						f.mu.Unlock()
						close(hang)
					})
				},
				Break: func(_ *testing.T, s pipe.Sink) func() {
					sides[s].set(status(500, "", ""))
					return func() { sides[s].set(nil) }
				},
				TakesBack: true,
			})
		})
	}
	f("plain", func(*HTTP) {})
	f("gzip", func(s *HTTP) { s.Compress = codec.CompressGzip })
	f("zstd", func(s *HTTP) { s.Compress = codec.CompressZstd })
}

func TestHTTPRequest(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, f, func(s *HTTP) {
		s.Method, s.BearerToken = "PUT", "t0k"
		s.Headers = map[string]string{"X-Team": "web", "Host": "other.example", "Content-Type": "application/x-mine"}
	})
	open(t, s)
	write(t, s, `{"a":1}`, "text", `{"b":2}`)
	r := f.last()
	for name, want := range map[string]string{"Authorization": "Bearer t0k", "X-Team": "web", "Content-Type": "application/x-mine", "User-Agent": "pipectl"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if r.Method != "PUT" || r.Host != "other.example" || r.URL.RequestURI() != "/in?key=topsecret" {
		t.Errorf("got %s %s at %s", r.Method, r.URL, r.Host)
	}
	if want := "{\"a\":1}\n{\"message\":\"text\"}\n{\"b\":2}\n"; f.text() != want {
		t.Errorf("got %q, want %q", f.text(), want)
	}
	s = httpTo(t, f, func(s *HTTP) { s.BasicAuth, s.Body = &BasicAuth{User: "u", Password: "p"}, bodyArray })
	open(t, s)
	write(t, s, `{"a":1}`, `{"b":2}`)
	if user, password, _ := f.last().BasicAuth(); user != "u" || password != "p" {
		t.Errorf("got user %q, password %q", user, password)
	}
	if got, want := f.bodies[1], `[{"a":1},{"b":2}]`; got != want || f.last().Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %q as %s, want %q", got, f.last().Header.Get("Content-Type"), want)
	}
}

func TestHTTPAnswers(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, f, nil)
	open(t, s)
	check := func(code int, class pipe.Class, parts ...string) {
		t.Helper()
		f.set(status(code, "Location", "http://new.example/there?key=topsecret"))
		err := s.Write(t.Context(), batch(t, "a", "b"))
		wantError(t, err, class, append(parts, "POST "+f.URL+"/in: ", "because of this")...)
		if strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%v: shows what is secret", err)
		}
	}
	for _, code := range []int{200, 201, 202, 204, 207} {
		f.set(status(code, "", ""))
		if err := s.Write(t.Context(), batch(t, "a")); err != nil {
			t.Errorf("%d: %v", code, err)
		}
	}
	check(301, pipe.Permanent, "301", "redirects are not followed", "http://new.example/there")
	check(308, pipe.Permanent, "308", "redirects are not followed")
	check(400, pipe.Permanent, "400 Bad Request")
	check(401, pipe.Permanent, "401 Unauthorized: check basic_auth, bearer_token or headers")
	check(403, pipe.Permanent, "403 Forbidden: the credentials are known")
	check(404, pipe.Permanent, "404 Not Found: check the path in url")
	check(408, pipe.Retryable, "408")
	check(413, pipe.Permanent, "413", "2 events in 32 bytes: lower batch.events")
	check(422, pipe.Permanent, "422")
	check(429, pipe.Throttled, "429")
	check(500, pipe.Retryable, "500")
	check(502, pipe.Retryable, "502")
	check(503, pipe.Throttled, "503")
	check(504, pipe.Retryable, "504")
}

func TestHTTPRetryAfter(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, side, nil)
	open(t, s)
	side.set(status(503, "Retry-After", "7"))
	var e *pipe.Error
	if err := s.Write(t.Context(), batch(t, "a")); !errors.As(err, &e) || e.RetryAfter != 7*time.Second {
		t.Errorf("got %#v, want to retry after 7s", err)
	}
	side.set(status(500, "Retry-After", "7"))
	if err := s.Write(t.Context(), batch(t, "a")); !errors.As(err, &e) || e.RetryAfter != 0 {
		t.Errorf("got %#v, want no time: only 429 and 503 say when", err)
	}
}

func TestHTTPIdempotencyKey(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, f, nil)
	open(t, s)
	send := func(lines ...string) string {
		write(t, s, lines...)
		return f.last().Header.Get("Idempotency-Key")
	}
	abc := send("a", "b", "c")
	if again := send("a", "b", "c"); again != abc || len(abc) != 32 {
		t.Errorf("the same events got the keys %q and %q", abc, again)
	}
	in := batch(t, "a", "b", "c", "d")
	in[1], in[2] = in[2], in[3] // begins alike, is as long
	if err := s.Write(t.Context(), in[:3]); err != nil {
		t.Fatal(err)
	}
	if other := f.last().Header.Get("Idempotency-Key"); other == abc || other == "" {
		t.Errorf("other events got the key %q, as %q", other, abc)
	}
	s.IdempotencyHeader = ""
	if key := send("a"); key != "" {
		t.Errorf("got key %q though none is wanted", key)
	}
}

func TestHTTPTraceContext(t *testing.T) {
	const (
		trace  = "00-0af7651916cd43dd8448eb211c80319c-"
		parent = trace + "b7ad6b7169203331-01"
		other  = trace + "b7ad6b7169203332-01"
		alien  = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	)
	side := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, side, nil)
	open(t, s)
	f := func(want, state string, parents ...string) {
		t.Helper()
		in := batch(t, make([]string, len(parents))...)
		for i, p := range parents {
			if p != "" {
				in[i].SetMeta(pipe.TraceState, fmt.Sprint("event=", i))
				in[i].SetMeta(pipe.TraceParent, p)
			}
		}
		if err := s.Write(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		h := side.last().Header
		if h.Get("traceparent") != want || h.Get("tracestate") != state {
			t.Errorf("%q: got %q with %q, want %q with %q", parents, h.Get("traceparent"), h.Get("tracestate"), want, state)
		}
	}
	f("", "", "")
	f(parent, "event=0", parent)
	f(parent, "event=0", parent, parent, parent)
	f(parent, "event=0", parent, other) // steps of one trace
	f(parent, "event=1", "", parent, "")
	f("", "", parent, alien)
	f("", "", parent, "", alien, parent)
	f("", "", "nonsense")
	f(parent, "event=1", "nonsense", parent)
	s = httpTo(t, side, func(s *HTTP) { s.Headers = map[string]string{"Traceparent": alien} })
	open(t, s)
	f(alien, "event=0", parent) // what the file says counts
}

func TestHTTPPoison(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	s := httpTo(t, f, func(s *HTTP) { s.Codec = codec.CSV() })
	open(t, s)
	err := s.Write(t.Context(), batch(t, `{"a":1}`, `{"b":1}`, `{"a":2}`))
	var part *pipe.PartialError
	if !errors.As(err, &part) || len(part.Items) != 1 || part.Items[0].Index != 1 || f.text() != "a\n1\n2\n" {
		t.Errorf("got %v and %q, want a failure of event 1 alone", err, f.text())
	}
	f.set(status(500, "", ""))
	wantError(t, s.Write(t.Context(), batch(t, `{"a":1}`, `{"b":1}`)), pipe.Retryable, "500")
	f.set(nil)
	empty := batch(t, "x")
	empty[0].Body = record.NewObject(&record.Arena{}, 0)
	before := len(f.requests)
	if err := s.Write(t.Context(), empty); !errors.As(err, &part) || len(f.requests) != before {
		t.Errorf("got %v and %d requests, want a failure and none", err, len(f.requests)-before)
	}
}

func TestHTTPValidate(t *testing.T) {
	f := func(set func(*HTTP), field, want string) {
		t.Helper()
		s := &HTTP{URL: "http://h/", Codec: codec.NDJSON(), Body: bodyStream}
		set(s)
		var fe *pipe.FieldError
		if err := s.Validate(); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f(func(s *HTTP) { s.URL = "h:80/x" }, "url", "scheme")
	f(func(s *HTTP) { s.URL = "ftp://h/x" }, "url", "scheme")
	f(func(s *HTTP) { s.URL = "http:///x" }, "url", "host")
	f(func(s *HTTP) { s.URL = "http://h:port/x" }, "url", "not a URL")
	f(func(s *HTTP) { s.URL = "http://u:p@h/x" }, "url", "basic_auth")
	f(func(s *HTTP) { s.URL = "http://h/x#y" }, "url", "fragment")
	f(func(s *HTTP) { s.Body, s.Codec = bodyArray, codec.Lines() }, "body", "json")
	f(func(s *HTTP) { s.BasicAuth, s.BearerToken = &BasicAuth{User: "u"}, "t" }, "bearer_token", "basic_auth")
	f(func(s *HTTP) { s.Headers = map[string]string{"a b": "c"} }, "headers.a b", "name")
	f(func(s *HTTP) { s.Headers = map[string]string{"a": "b\r\nc: d"} }, "headers.a", "line break")
	f(func(s *HTTP) { s.BearerToken, s.Headers = "t", map[string]string{"authorization": "x"} }, "headers.authorization", "already")
	f(func(s *HTTP) { s.Headers = map[string]string{"content-encoding": "br"} }, "headers.content-encoding", "compress")
	for field, bad := range map[string]*TLS{"key": {Cert: "c"}, "cert": {Key: "k"}, "insecure_skip_verify": {CA: "a", InsecureSkipVerify: true}} {
		var fe *pipe.FieldError
		if err := bad.Validate(); !errors.As(err, &fe) || fe.Field != field {
			t.Errorf("%+v: got %v, want an error at %s", bad, err, field)
		}
	}
	if err := (&TLS{}).Validate(); err != nil {
		t.Error(err)
	}
}
