package sources

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// shop is an API with pages: /orders?after=N&limit=L gives the orders behind N.
type shop struct {
	*httptest.Server
	asked atomic.Int64

	mu     sync.Mutex // guards what follows
	orders []string
	wrong  func(w http.ResponseWriter, r *http.Request) bool // answers in its place
	seen   []*http.Request
	bodies []string
}

func newShop(t testing.TB, orders int) *shop {
	s := &shop{}
	for i := range orders {
		s.orders = append(s.orders, fmt.Sprintf(`{"id":%d}`, i+1))
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.bodies = append(s.seen, r), append(s.bodies, string(body))
	if s.wrong != nil && s.wrong(w, r) {
		return
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	end := min(len(s.orders), after+4)
	after = min(after, end)
	next, cursor := "null", "null"
	if end > after {
		cursor = strconv.Itoa(end)
	}
	if end < len(s.orders) {
		next = fmt.Sprintf(`"/orders?after=%d"`, end)
		w.Header().Set("Link", fmt.Sprintf(`</orders?after=%d>; rel="next", </orders>; rel="first"`, end))
	}
	fmt.Fprintf(w, `{"orders": [%s], "last": %s, "next": %s}`, strings.Join(s.orders[after:end], ",\n "), cursor, next)
}

func (s *shop) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *shop) want() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.orders)
}

// client returns a source that asks s, and waits a thousandth of what it should.
func (s *shop) client(t testing.TB, set func(c *HTTPClient)) *HTTPClient {
	t.Helper()
	known, _ := pipe.Lookup(pipe.KindSource, "http_client")
	c := known.New().(*HTTPClient)
	c.URL = s.URL + "/orders?after={cursor}"
	expression(t, &c.Items, "body.orders")
	expression(t, &c.Cursor, "body.last")
	c.Interval = pipe.Duration(time.Second)
	c.sleep = func(ctx context.Context, d time.Duration) error {
		c.due = time.Time{}
		return sleepFor(ctx, d/1000)
	}
	if set != nil {
		set(c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func expression(t testing.TB, v interface{ UnmarshalText([]byte) error }, text string) {
	t.Helper()
	if err := v.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// paged makes the client go by the URLs of the next pages.
func paged(t testing.TB, next string) func(*HTTPClient) {
	return func(c *HTTPClient) {
		c.URL = strings.Replace(c.URL, "{cursor}", "0", 1)
		c.Cursor = expr.Value{}
		expression(t, &c.NextURL, next)
	}
}

func TestHTTPClientConformance(t *testing.T) {
	s := newShop(t, 10)
	checkpoint := filepath.Join(t.TempDir(), "c")
	pipetest.Source(t, func() pipe.Source {
		return s.client(t, func(c *HTTPClient) { c.Checkpoint = checkpoint })
	}, pipetest.SourceOptions{
		Want: s.want(), Endless: true, Reset: func() { os.Remove(checkpoint) },
		Taken: func(pipe.Source) int64 { return s.asked.Load() },
	})
}

func TestHTTPClientConformanceOfURLs(t *testing.T) {
	s := newShop(t, 6)
	pipetest.Source(t, func() pipe.Source {
		return s.client(t, func(c *HTTPClient) {
			paged(t, "body.next")(c)
			c.Interval = pipe.Duration(time.Hour)
			c.sleep = sleepFor
		})
	}, pipetest.SourceOptions{Want: s.want(), Endless: true, Unstable: true, Taken: func(pipe.Source) int64 { return s.asked.Load() }})
}

func pulled(t *testing.T, p *pipetest.Puller, n int) []pipetest.Pulled {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all []pipetest.Pulled
	for len(all) < n {
		got, err := p.Read(ctx)
		if all = append(all, got...); err != nil {
			t.Fatalf("after %d events: %v", len(all), err)
		}
	}
	return all
}

func wantTexts(t *testing.T, got []pipetest.Pulled, want []string) {
	t.Helper()
	if !slices.Equal(texts(got), want) {
		t.Errorf("got %q, want %q", texts(got), want)
	}
}

func TestHTTPClientFollowsLinks(t *testing.T) {
	s := newShop(t, 10)
	p := pipetest.Pull(t, s.client(t, paged(t, "links.next")))
	defer p.Close()
	wantTexts(t, pulled(t, p, 10), s.want())
	wantTexts(t, pulled(t, p, 4), s.want()[:4]) // the next poll begins at the beginning
}

func TestHTTPClientMaxPages(t *testing.T) {
	s := newShop(t, 20)
	var waits []time.Duration
	c := s.client(t, func(c *HTTPClient) { c.MaxPages = 2 })
	c.sleep = func(context.Context, time.Duration) error {
		waits = append(waits, time.Until(c.due))
		c.due = time.Time{}
		return nil
	}
	p := pipetest.Pull(t, c)
	defer p.Close()
	wantTexts(t, pulled(t, p, 20), s.want())
	if len(waits) != 2 {
		t.Errorf("waited %d times for five pages, two a poll, want 2", len(waits))
	}
}

// TestHTTPClientCommitsWhatIsSettled checks that the cursor on the disk is never
// ahead of the events.
func TestHTTPClientCommitsWhatIsSettled(t *testing.T) {
	s := newShop(t, 12)
	file := filepath.Join(t.TempDir(), "c")
	client := func() *HTTPClient { return s.client(t, func(c *HTTPClient) { c.Checkpoint = file }) }
	saved := func() (f pagesFile) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	p := pipetest.Pull(t, client())
	all := pulled(t, p, 12)
	p.Commit()
	if got := saved().Place.Cursor; got != "" {
		t.Errorf("nothing is settled, and the cursor is %q", got)
	}
	p.Settle(all[4:8], pipe.Delivered)
	p.Commit()
	if got := saved().Place.Cursor; got != "" {
		t.Errorf("the first page is open, and the cursor is %q", got)
	}
	p.Settle(all[:4], pipe.Delivered)
	p.Commit()
	if got := saved().Place; got.Cursor != "8" || got.Page != 3 {
		t.Errorf("two pages are settled, and the place is %+v", got)
	}
	p.Abandon()
	p = pipetest.Pull(t, client())
	again := pulled(t, p, 4)
	wantTexts(t, again, s.want()[8:])
	if again[0].ID != all[8].ID {
		t.Errorf("an event that is read again has another id")
	}
	p.Settle(again[:2], pipe.Delivered)
	p.Close() // an orderly end keeps the half of a page
	p = pipetest.Pull(t, client())
	wantTexts(t, pulled(t, p, 2), s.want()[10:])
	p.Abandon()
	s.set(func() { s.orders[11] = `{"id":12,"changed":true}` })
	p = pipetest.Pull(t, client())
	changed := pulled(t, p, 4) // the page is another one: all of it
	wantTexts(t, changed, s.want()[8:])
	if changed[0].ID == all[8].ID {
		t.Errorf("an event of another page has the same id")
	}
	p.Abandon()
}

func TestHTTPClientRefusesDamage(t *testing.T) {
	s := newShop(t, 1)
	file := filepath.Join(t.TempDir(), "c")
	open := func() error {
		return s.client(t, func(c *HTTPClient) { c.Checkpoint = file }).Open(t.Context(), pipetest.Env())
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(file)
	for _, damaged := range []string{"", "{}", string(text[:len(text)/2]), strings.Replace(string(text), `"cursor": ""`, `"cursor": "9"`, 1)} {
		os.WriteFile(file, []byte(damaged), 0o600)
		if err := open(); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%q: got %v", damaged, err)
		}
	}
}

func TestHTTPClientWaitsAsItIsTold(t *testing.T) {
	s := newShop(t, 2)
	var waits []time.Duration
	c := s.client(t, func(c *HTTPClient) { c.BackoffMax = pipe.Duration(time.Minute) })
	c.sleep = func(context.Context, time.Duration) error {
		waits = append(waits, time.Until(c.due))
		c.due = time.Time{}
		return nil
	}
	f := func(lo, hi time.Duration, failures int, code int, retryAfter, body string) {
		t.Helper()
		waits = nil
		left := failures
		s.set(func() {
			s.wrong = func(w http.ResponseWriter, _ *http.Request) bool {
				if left--; left < 0 {
					return false
				}
				w.Header().Set("Retry-After", retryAfter)
				w.WriteHeader(code)
				io.WriteString(w, body)
				return true
			}
		})
		c.now, c.due, c.asked = place{Page: 1}, time.Time{}, 0
		p := pipetest.NewPuller(t, c)
		pulled(t, p, 2)
		last := waits[failures-1]
		if len(waits) < failures || last < lo-time.Second/2 || last > hi {
			t.Errorf("%d %q: got %v, want %v to %v at the end", code, retryAfter, waits, lo, hi)
		}
		p.Settle(nil, pipe.Returned)
	}
	if err := c.Open(t.Context(), pipetest.Env()); err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	f(0, time.Second, 1, 500, "", "")
	f(2*time.Second, 4*time.Second, 3, 404, "", "")
	f(30*time.Second, time.Minute, 12, 500, "", "")
	f(7*time.Second, 7*time.Second, 1, 429, "7", "")
	f(59*time.Second, time.Minute, 1, 503, "3600", "") // cut to backoff_max
	f(28*time.Second, 31*time.Second, 1, 503, time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat), "")
	f(0, time.Second, 1, 500, "7", "") // only 429 and 503 say when
	f(0, time.Second, 1, 200, "", "<html>maintenance</html>")
	f(0, time.Second, 1, 200, "", `{"orders": 7}`)
	f(0, time.Second, 1, 200, "", `{"orders": [], "last": {}}`)
	f(0, time.Second, 1, 302, "", "")
}

func TestHTTPClientConditional(t *testing.T) {
	s := newShop(t, 0)
	version := "1"
	s.wrong = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("ETag", `"`+version+`"`)
		if r.Header.Get("If-None-Match") == `"`+version+`"` {
			if version == "1" {
				version = "2"
			}
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		fmt.Fprintf(w, `[{"version":%s}]`, version)
		return true
	}
	c := s.client(t, func(c *HTTPClient) {
		c.URL, c.Items, c.Cursor = s.URL+"/state", expr.Value{}, expr.Value{}
	})
	p := pipetest.Pull(t, c)
	defer p.Close()
	got := pulled(t, p, 2)
	wantTexts(t, got, []string{`{"version":1}`, `{"version":2}`})
	if got[0].ID == got[1].ID || got[0].Partition == got[1].Partition {
		t.Error("two polls gave the same id")
	}
}

func TestHTTPClientRequest(t *testing.T) {
	s := newShop(t, 6)
	s.wrong = func(w http.ResponseWriter, r *http.Request) bool {
		var q struct{ Since string }
		json.Unmarshal([]byte(s.bodies[len(s.bodies)-1]), &q)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprintf(z, `{"orders":[{"since":%q}],"last":"a\"b c"}`, q.Since)
		z.Close()
		return true
	}
	c := s.client(t, func(c *HTTPClient) {
		c.URL, c.Method, c.Body = s.URL+"/search", "POST", `{"since":"{cursor}"}`
		c.Start, c.BearerToken, c.Headers = "first", "t0k", map[string]string{"X-Team": "web"}
	})
	p := pipetest.Pull(t, c)
	defer p.Close()
	wantTexts(t, pulled(t, p, 2), []string{`{"since":"first"}`, `{"since":"a\"b c"}`})
	h := s.seen[0].Header
	if h.Get("Authorization") != "Bearer t0k" || h.Get("X-Team") != "web" || s.seen[0].Method != "POST" {
		t.Errorf("got %s with %v", s.seen[0].Method, h)
	}
	c = s.client(t, func(c *HTTPClient) { c.URL = "http://h/a/{cursor}/x?after={cursor}" })
	if got, want := c.address("1/2&3"), "http://h/a/1%2F2&3/x?after=1%2F2%263"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHTTPClientStaysOnItsHost(t *testing.T) {
	s := newShop(t, 6)
	elsewhere := newShop(t, 6)
	s.wrong = func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprintf(w, `{"orders":[{"id":1}],"next":%q}`, elsewhere.URL+"/orders")
		return true
	}
	p := pipetest.Pull(t, s.client(t, paged(t, "body.next")))
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := p.Read(ctx); len(got) > 0 || err == nil {
		t.Errorf("got %d events and %v", len(got), err)
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("another host was asked, with the credentials")
	}
}

func TestHTTPClientMaxBody(t *testing.T) {
	s := newShop(t, 6)
	f := func(packed bool) {
		t.Helper()
		s.set(func() {
			s.wrong = func(w http.ResponseWriter, _ *http.Request) bool {
				text := `{"orders":[{"id":"` + strings.Repeat("x", 5000) + `"}]}`
				if !packed {
					io.WriteString(w, text)
					return true
				}
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				io.WriteString(z, text)
				z.Close()
				return true
			}
		})
		p := pipetest.Pull(t, s.client(t, func(c *HTTPClient) { c.MaxBody = 1000 }))
		defer p.Close()
		if _, err := p.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "more than max_body, which is 1000") {
			t.Errorf("got %v", err)
		}
	}
	f(false)
	f(true)
}

func TestHTTPClientForgetsEmptyPages(t *testing.T) {
	s := newShop(t, 1)
	c := s.client(t, nil)
	p := pipetest.Pull(t, c)
	first := pulled(t, p, 1) // stays open
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() {
		for s.asked.Load() < 10 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	p.Read(ctx)
	if n := len(c.pages.open); n > 2 || s.asked.Load() < 10 {
		t.Errorf("%d pages are remembered after %d requests", n, s.asked.Load())
	}
	p.Settle(first, pipe.Delivered)
	p.Close()
}

func TestLinksOf(t *testing.T) {
	f := func(want string, headers ...string) {
		t.Helper()
		if got := fmt.Sprint(linksOf(headers)); got != want {
			t.Errorf("%q: got %s, want %s", headers, got, want)
		}
	}
	f("map[]")
	f("map[next:/b]", `</b>; rel="next"`)
	f("map[last:/z next:/b]", `</b>; rel="next", </z>; title="a"; rel=last`)
	f("map[a:/x b:/x]", `</x>;rel="a b"`)
	f("map[next:/b prev:/a]", `</b>; rel=next`, `</a>; REL=Prev`)
	f("map[]", "<", "<>", "rel=next", "<a", "<a>;rel", "<<<>>>")
}

func FuzzLinksOf(f *testing.F) {
	f.Add(`</b>; rel="next", </z>; rel=last`)
	f.Add(`<<a>;rel=x<b>`)
	f.Fuzz(func(t *testing.T, header string) {
		for rel, target := range linksOf([]string{header}) {
			if rel == "" || !strings.Contains(header, "<"+target+">") {
				t.Errorf("%q: got %q for %q", header, target, rel)
			}
		}
	})
}

func TestHTTPClientValidate(t *testing.T) {
	s := newShop(t, 1)
	f := func(want string, set func(c *HTTPClient)) {
		t.Helper()
		c := s.client(t, nil)
		set(c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("url: the scheme", func(c *HTTPClient) { c.URL = "ftp://h/{cursor}" })
	f("url: the cursor must not choose the host", func(c *HTTPClient) { c.URL = "http://a{cursor}.h/" })
	f("cursor: it is not used", func(c *HTTPClient) { c.URL = "http://h/" })
	f("{cursor} needs the option cursor", func(c *HTTPClient) { c.Cursor = expr.Value{} })
	f("next_url: cannot be combined", func(c *HTTPClient) { expression(t, &c.NextURL, "body.next") })
	f("body: only POST", func(c *HTTPClient) { c.Body = "x" })
	f("items: needs codec json", func(c *HTTPClient) { c.Codec = codec.Lines() })
	f("backoff_max", func(c *HTTPClient) { c.BackoffMax = 1 })
	f("headers.authorization", func(c *HTTPClient) { c.BearerToken, c.Headers = "t", map[string]string{"authorization": "x"} })
}
