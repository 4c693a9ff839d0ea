package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// far is a service that answers as told.
type far struct {
	mu     sync.Mutex // guards what follows
	asked  []string
	now    int // requests under way
	most   int
	answer func(ctx context.Context, path string) (int, string, error)
}

func (f *far) RoundTrip(q *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, q.URL.RequestURI())
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	code, body, err := f.answer(q.Context(), q.URL.Path)
	f.mu.Lock()
	f.now--
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {"7"}}, Body: io.NopCloser(strings.NewReader(body)), Request: q}, nil
}

func (f *far) times() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

// knows answers after a while; it knows the keys whose first letter is k.
func knows(after time.Duration) *far {
	return &far{answer: func(ctx context.Context, path string) (int, string, error) {
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return 0, "", ctx.Err()
		}
		if key := path[len("/u/"):]; strings.HasPrefix(key, "k") {
			return 200, fmt.Sprintf(`{"name":"N%s","x":{"y":1}}`, key), nil
		}
		return 404, "", nil
	}}
}

func newEnrichHTTP(t testing.TB, f *far, change func(*EnrichHTTP)) *EnrichHTTP {
	t.Helper()
	c, _ := pipe.Lookup(pipe.KindStage, "enrich_http")
	h := c.New().(*EnrichHTTP)
	h.Key, h.URL, h.Take = value(t, "id"), "http://far/u/{key}", []string{"name"}
	h.http = &http.Client{Transport: f}
	change(h)
	return h
}

func TestEnrichHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := knows(time.Millisecond)
		r := run(t, newEnrichHTTP(t, f, func(*EnrichHTTP) {}), `{"id":"k1"}`, `{"id":"x"}`, `{"id":"k1","n":2}`, `{}`, `{"id":"k2"}`)
		same(t, "enriched", r.Emitted[""], []string{`{"id":"k1","name":"Nk1"}`, `{"id":"x"}`, `{"id":"k1","n":2,"name":"Nk1"}`, `{}`, `{"id":"k2","name":"Nk2"}`})
		slices.Sort(f.asked)
		same(t, "asked", f.asked, []string{"/u/k1", "/u/k2", "/u/x"})
	})
}

// Answers are remembered for a time, missing ones for another, and the most
// recently used of them when there are too many.
func TestEnrichHTTPRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := knows(time.Millisecond)
		h := newEnrichHTTP(t, f, func(h *EnrichHTTP) {
			h.CacheKeys, h.TTL, h.MissingTTL = 2, pipe.Duration(time.Minute), pipe.Duration(time.Second)
		})
		if err := h.Open(t.Context(), openEnv); err != nil {
			t.Fatal(err)
		}
		ask := func(id string, want int) {
			t.Helper()
			goOn(t, h, 1, fmt.Sprintf(`{"id":%q}`, id))
			if got := f.times(); got != want {
				t.Errorf("%s: asked %d times, want %d", id, got, want)
			}
		}
		ask("k1", 1)
		ask("x", 2)
		time.Sleep(500 * time.Millisecond)
		ask("x", 2)
		time.Sleep(500 * time.Millisecond)
		ask("x", 3)
		ask("k1", 3)
		ask("k2", 4) // x was not used for the longest time
		ask("k1", 4)
		ask("x", 5)
		time.Sleep(time.Minute)
		ask("k1", 6)
	})
}

func TestEnrichHTTPIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := knows(time.Second)
		h := newEnrichHTTP(t, f, func(h *EnrichHTTP) { h.MaxConcurrent = 3 })
		if err := h.Open(t.Context(), openEnv); err != nil {
			t.Fatal(err)
		}
		var workers sync.WaitGroup
		start := time.Now()
		for w := range 3 {
			workers.Go(func() {
				var in []string
				for i := range 6 {
					in = append(in, fmt.Sprintf(`{"id":"k%d"}`, (i+w)%6))
				}
				if got := goOn(t, h, int64(w*100), in...); len(got) != 6 || !strings.Contains(got[0], `"name":"Nk`) {
					t.Errorf("worker %d: %q", w, got)
				}
			})
		}
		workers.Wait()
		if f.most > 3 || len(f.asked) != 6 || time.Since(start) != 2*time.Second {
			t.Errorf("%d at a time, %d in all, in %v", f.most, len(f.asked), time.Since(start))
		}
	})
}

// Who waits for an answer that somebody else has asked for gets it although the
// other is called away.
func TestEnrichHTTPCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := knows(time.Second)
		h := newEnrichHTTP(t, f, func(*EnrichHTTP) {})
		if err := h.Open(t.Context(), openEnv); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- h.Process(ctx, readNow(t, 1, `{"id":"k"}`), pipe.NewOut(1)) }()
		synctest.Wait()
		go func() {
			time.Sleep(time.Second / 2)
			cancel()
		}()
		same(t, "the other", goOn(t, h, 2, `{"id":"k"}`), []string{`{"id":"k","name":"Nk"}`})
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if f.times() != 2 || len(h.calls) != 0 {
			t.Errorf("asked %d times, %d calls are left", f.times(), len(h.calls))
		}
	})
}

// Events up to the first without an answer are decided about; the error says
// whether it may come yet.
func TestEnrichHTTPFails(t *testing.T) {
	f := func(code int, body string, err error, class pipe.Class, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			service := knows(0)
			good := service.answer
			service.answer = func(ctx context.Context, path string) (int, string, error) {
				switch {
				case path != "/u/bad":
					return good(ctx, path)
				case err == errSilent:
					<-ctx.Done()
					return 0, "", ctx.Err()
				}
				return code, body, err
			}
			h := newEnrichHTTP(t, service, func(h *EnrichHTTP) { h.MaxBytes, h.URL = 40, "http://far/u/{key}?token=secret" })
			if err := h.Open(t.Context(), openEnv); err != nil {
				t.Fatal(err)
			}
			out := pipe.NewOut(1)
			got := h.Process(t.Context(), readNow(t, 1, `{"id":"k1"}`, `{"id":"bad"}`, `{"id":"k2"}`), out)
			emitted := 1
			if class == pipe.Permanent {
				emitted = 2
				if len(out.Failed()) == 1 {
					got = out.Failed()[0].Err
				}
			}
			if got == nil || pipe.ClassOf(got, "") != class || !strings.Contains(got.Error(), want) || strings.Contains(got.Error(), "secret") || len(out.Port(0)) != emitted {
				t.Errorf("%d %s %v: got %v of class %s, %d emitted; want %s, %s", code, body, err, got, pipe.ClassOf(got, ""), len(out.Port(0)), want, class)
			}
			var e *pipe.Error
			if errors.As(got, &e) && class == pipe.Throttled && e.RetryAfter != 7*time.Second {
				t.Errorf("retry after %v", e.RetryAfter)
			}
		})
	}
	f(500, "", nil, pipe.Retryable, "GET http://far/u/{key}: 500 Internal Server Error")
	f(503, "", nil, pipe.Throttled, "503")
	f(429, "", nil, pipe.Throttled, "429")
	f(408, "", nil, pipe.Retryable, "408")
	f(0, "", io.ErrUnexpectedEOF, pipe.Retryable, "unexpected EOF")
	f(0, "", errSilent, pipe.Retryable, "no answer within request_timeout 2s")
	f(400, "", nil, pipe.Permanent, "400 Bad Request")
	f(302, "", nil, pipe.Permanent, "302 Found")
	f(200, "[1]", nil, pipe.Permanent, "must be a JSON object")
	f(200, `{"x":"`+strings.Repeat("y", 40)+`"}`, nil, pipe.Permanent, "more than max_bytes, which is 40B")
}

var errSilent = errors.New("silent")

// Keys are data: they cannot change where a request goes.
func TestEnrichHTTPAddress(t *testing.T) {
	f := func(url, key, want string) {
		t.Helper()
		h := &EnrichHTTP{URL: url}
		if got := h.address(key); got != want {
			t.Errorf("%s with %q: got %s, want %s", url, key, got, want)
		}
	}
	f("http://h/u/{key}", "a/../b?c#d e", "http://h/u/a%2F..%2Fb%3Fc%23d%20e")
	f("http://h/u/{key}/x", "..", "http://h/u/%2E%2E/x")
	f("http://h/u?id={key}&x=1", "a&b=c+d", "http://h/u?id=a%26b%3Dc%2Bd&x=1")
}

// A real server and a real client, once.
func TestEnrichHTTPServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintf(w, `{"saw":%q,"token":%q}`, q.URL.Path, q.Header.Get("Authorization"))
	}))
	defer server.Close()
	h := newEnrichHTTP(t, nil, func(h *EnrichHTTP) {
		h.http, h.Take, h.Target = nil, nil, "far"
		h.URL, h.Headers = server.URL+"/u/{key}", map[string]string{"Authorization": "Bearer t"}
	})
	same(t, "enriched", run(t, h, `{"id":"a b"}`).Emitted[""], []string{`{"id":"a b","far":{"saw":"/u/a b","token":"Bearer t"}}`})
}

func TestEnrichHTTPValidate(t *testing.T) {
	f := func(field, want string, change func(*EnrichHTTP)) {
		t.Helper()
		refuses(t, newEnrichHTTP(t, nil, change), field, want)
	}
	f("url", "not a URL", func(h *EnrichHTTP) { h.URL = "far/{key}" })
	f("url", "not a URL", func(h *EnrichHTTP) { h.URL = "" })
	f("url", "where the key goes", func(h *EnrichHTTP) { h.URL = "http://far/u" })
	f("url", "do not belong here", func(h *EnrichHTTP) { h.URL = "http://a:b@far/{key}" })
	f("url", "must not choose the host", func(h *EnrichHTTP) { h.URL = "http://{key}.far/{key}" })
	f("headers.a b", "not a header", func(h *EnrichHTTP) { h.Headers = map[string]string{"a b": ""} })
	f("max_concurrent", "at least 1", func(h *EnrichHTTP) { h.MaxConcurrent = 0 })
	f("cache_keys", "at least 1", func(h *EnrichHTTP) { h.CacheKeys = 0 })
	f("max_bytes", "at least 1", func(h *EnrichHTTP) { h.MaxBytes = 0 })
	f("request_timeout", "above 0", func(h *EnrichHTTP) { h.RequestTimeout = 0 })
	f("ttl", "above 0", func(h *EnrichHTTP) { h.TTL = 0 })
	f("missing_ttl", "above 0", func(h *EnrichHTTP) { h.MissingTTL = 0 })
}

func TestEnrichHTTPConforms(t *testing.T) {
	outer := t
	pipetest.Stage(t, func() pipe.Stage {
		return newEnrichHTTP(outer, knows(time.Millisecond), func(h *EnrichHTTP) { h.Target = "who" })
	}, `{"id":"k1"}`, `{"id":7}`, "a line", `{"id":"k2","who":3}`)
}
