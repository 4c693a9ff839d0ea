package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/web"
)

func TestHTTPServerConformance(t *testing.T) {
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprintf(`{"n":%d}`, i))
	}
	for _, respond := range []string{respondDelivered, respondAccepted} {
		t.Run(respond, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			var posts sync.WaitGroup
			pipetest.Source(t, func() pipe.Source {
				posts.Wait()
				return newHTTPServer(t, func(s *HTTPServer) { s.Respond = respond })
			}, pipetest.SourceOptions{Want: want, Endless: true, Feed: func(src pipe.Source) {
				url := "http://" + src.(*HTTPServer).Addr().String()
				body := "[" + strings.Join(want, ",") + "]"
				posts.Go(func() {
					if resp, err := client.Post(url, "application/json", strings.NewReader(body)); err == nil {
						resp.Body.Close()
					}
				})
			}})
			posts.Wait()
		})
	}
}

func TestHTTPServerAnswers(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) {
		s.Path, s.Methods, s.MaxBody, s.Token = "/in", []string{"POST", "PUT"}, 1000, "s3cret"
	})
	r.url = "http://source/in"
	defer r.run(pipe.Delivered)()
	f := func(body string, headers string, code int, text string) {
		t.Helper()
		h := []string{"Authorization", "Bearer s3cret"}
		if headers != "" {
			h = append(h, strings.Split(headers, "|")...)
		}
		r.want(r.post(body, h...), code, text)
	}
	f(`{"a":1}`, "", 200, `{"events":1}`)
	f("{\"a\":1}\n{\"a\":2}\n", "Content-Type|application/x-ndjson", 200, `{"events":2}`)
	f(`{"a":1}{"a":2} {"a":3}`, "Content-Type|application/json; charset=utf-8", 200, `{"events":3}`)
	f("[{\"a\":1},\n {\"a\":2}]", "Content-Type|application/x-www-form-urlencoded", 200, `{"events":2}`)
	f(`[]`, "", 200, `{"events":0}`)
	f(gzipped(`{"a":1}`), "Content-Encoding|gzip", 200, `{"events":1}`)
	f(zstded(`{"a":1}`), "Content-Encoding|zstd", 200, `{"events":1}`)
	f(`{"a":1}`, "Content-Encoding|identity", 200, `{"events":1}`)
	if n := len(r.got); n != 11 {
		t.Errorf("%d events came, want 11", n)
	}
	f("", "", 400, "the body is empty")
	f(" \n", "", 400, "the body is empty")
	f(gzipped(""), "Content-Encoding|gzip", 400, "the body is empty")
	f("{\"a\":1}\n{\"a\":2,}\n{\"a\":3}\n", "", 400, `"error":"line 2: `)
	f(`[{"a":1},{"a":2}`, "", 400, "array at the top is not closed")
	f(`[{"a":1}] x`, "", 400, "line 1: ")
	f(`7`, "", 400, "line 1: ")
	f(`{"a":1}`, "Content-Encoding|gzip", 400, "the body is not valid gzip")
	f(gzipped(`{"a":1}`)[:20], "Content-Encoding|gzip", 400, "the body is not valid gzip")
	f(zstded(`{"a":1}`)[:8], "Content-Encoding|zstd", 400, "the body is not valid zstd")
	f(`{"a":1}`, "Authorization|Bearer wrong", 401, "bearer token")
	f(`{"a":1}`, "Authorization|s3cret", 401, "bearer token")
	f(strings.Repeat(" ", 1001), "", 413, "larger than 1000 bytes")
	f(gzipped(strings.Repeat(" ", 1001)), "Content-Encoding|gzip", 413, "larger than 1000 bytes")
	f(zstded(strings.Repeat(" ", 5000)), "Content-Encoding|zstd", 413, "larger than 1000 bytes")
	f(`{"a":1}`, "Content-Encoding|br", 415, "Content-Encoding")
	f(`{"a":1}`, "Content-Encoding|gzip, gzip", 415, "Content-Encoding")
	f(`{"a":1}`, "Content-Type|image/png", 415, "Content-Type")
	f(`{"a":1}`, "Content-Type|multipart/form-data; boundary=x", 415, "Content-Type")
	f(`{"a":1}`, "Content-Type|;;", 415, "Content-Type")
	if n := len(r.got); n != 11 {
		t.Errorf("%d events came, want 11: a refused request leaves none", n)
	}
	chunked, _ := http.NewRequest("POST", r.url, io.MultiReader(strings.NewReader(strings.Repeat(" ", 1001))))
	chunked.Header.Set("Authorization", "Bearer s3cret")
	r.want(r.send(chunked), 413, "larger than 1000 bytes")
	get, _ := http.NewRequest("GET", r.url, nil)
	get.Header.Set("Authorization", "Bearer s3cret")
	answer := r.send(get)
	r.want(answer, 405, "use POST or PUT")
	if got := answer.header.Get("Allow"); got != "POST, PUT" {
		t.Errorf("Allow: got %q", got)
	}
	r.url = "http://source/in/"
	f(`{"a":1}`, "", 404, "not found")
	want := map[string]int64{"400": 10, "401": 2, "404": 1, "405": 1, "413": 4, "415": 5}
	if got := r.src.Rejected(); !maps.Equal(got, want) {
		t.Errorf("rejected: got %v, want %v", got, want)
	}
}

// TestHTTPServerSaysNothingInternal checks every answer for what it may not say.
func TestHTTPServerSaysNothingInternal(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) { s.MaxConcurrent, s.MaxQueue, s.MaxWait = 1, 0, 0 })
	check := func(a httpAnswer) {
		t.Helper()
		var content map[string]any
		if err := json.Unmarshal([]byte(a.text), &content); err != nil || len(content) != 1 {
			t.Errorf("%d %q is not one thing in JSON: %v", a.code, a.text, err)
		}
		for _, word := range []string{"pipe.", "codec", "http_server", "node", "runtime", "golang", "/work", "goroutine", "json:", "max_", "limits."} {
			if strings.Contains(a.text, word) {
				t.Errorf("%d %q says %q", a.code, a.text, word)
			}
		}
		if server := a.header.Get("Server"); server != "" {
			t.Errorf("Server: %s", server)
		}
	}
	check(r.post(`{"a":`))
	check(r.post(`{"a":1}`, "Content-Encoding", "gzip"))
	check(r.post(`{"a":1}`)) // nobody reads
	check(r.post(strings.Repeat("x", 5<<20)))
	stop := r.run(pipe.Failed)
	r.src.MaxWait = pipe.Duration(time.Second)
	check(r.post(`{"a":1}`))
	stop()
	if code := r.post(`{"a":`).code; code != 400 {
		t.Errorf("got %d, want 400", code)
	}
}

func TestHTTPServerOutcomes(t *testing.T) {
	r := startHTTP(t, nil)
	f := func(o pipe.Outcome, code int, text string, retry bool) {
		t.Helper()
		stop := r.run(o)
		a := r.post(`[{"a":1},{"a":2}]`)
		stop()
		r.want(a, code, text)
		if got := a.header.Get("Retry-After") != ""; got != retry {
			t.Errorf("%v: Retry-After %q", o, a.header.Get("Retry-After"))
		}
	}
	f(pipe.Delivered, 200, `{"events":2}`, false)
	f(pipe.Filtered, 200, "", false)
	f(pipe.DeadLettered, 200, "", false)
	f(pipe.Dropped, 200, "", false)
	f(pipe.Discarded, 200, "", false)
	f(pipe.Returned, 503, "pipeline is stopping", true)
	f(pipe.Refused, 503, "pipeline is full", true)
	f(pipe.Failed, 500, "could not be delivered", false)
}

// TestHTTPServerAnswersTheWorst settles the events of one request differently.
func TestHTTPServerAnswersTheWorst(t *testing.T) {
	r := startHTTP(t, nil)
	answer := r.postLater(`[{"a":1},{"a":2},{"a":3}]`)
	events, err := r.read(t.Context())
	if err != nil || len(events) != 3 {
		t.Fatalf("got %d events, %v", len(events), err)
	}
	pipe.Settle(events[1:2], pipe.Refused)
	pipe.Settle(events[0:1], pipe.Delivered)
	select {
	case a := <-answer:
		t.Fatalf("answered %d before all was settled", a.code)
	case <-time.After(20 * time.Millisecond):
	}
	pipe.Settle(events[2:3], pipe.Filtered)
	r.want(<-answer, 503, "pipeline is full")
}

func TestHTTPServerAccepted(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) { s.Respond, s.MaxConcurrent, s.MaxQueue = respondAccepted, 1, 0 })
	var open []*pipe.Event
	for i := range 3 { // though nothing is settled, each gives its place back
		answer := r.postLater(fmt.Sprintf(`{"n":%d}`, i))
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, events...)
		r.want(<-answer, 202, `{"events":1}`)
	}
	pipe.Settle(open, pipe.Failed)
	if got := r.src.Traits(); got.Replays || got.Why == "" {
		t.Errorf("traits: got %+v", got)
	}
	if got := newHTTPServer(t, nil).Traits(); !got.Replays || !got.Rewinds || got.Why == "" {
		t.Errorf("traits of delivered: got %+v", got)
	}
}

func TestHTTPServerMetadata(t *testing.T) {
	r := startHTTP(t, func(s *HTTPServer) { s.Headers = []string{"X-Tenant", "x-zone"} })
	var answers []<-chan httpAnswer
	for _, h := range [][]string{{"X-Tenant", "a"}, {"X-Zone", "b"}, {}, {"x-tenant", "c", "X-Zone", "d", "X-Other", "e"}} {
		answers = append(answers, r.postLater(`[{"n":1},{"n":2}]`, h...))
		for { // in this order, and all at once for Read
			if in, _, _ := r.src.gate.load(); in == len(answers) && r.src.inbox.waiting() == in {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	stop := r.run(pipe.Delivered)
	for _, a := range answers {
		r.want(<-a, 200, "2")
	}
	stop()
	want := []string{"X-Tenant=a", "X-Tenant=a", "x-zone=b", "x-zone=b", "", "", "X-Tenant=c x-zone=d", "X-Tenant=c x-zone=d"}
	if !slices.Equal(r.meta, want) {
		t.Errorf("got %q, want %q", r.meta, want)
	}
}

func TestHTTPServerTraceContext(t *testing.T) {
	const (
		one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		two = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-00"
	)
	r := startHTTP(t, nil)
	var answers []<-chan httpAnswer
	want := []string{}
	f := func(body string, meta []string, headers ...string) {
		answers = append(answers, r.postLater(body, headers...))
		want = append(want, meta...)
		for { // in this order, and all at once for Read
			if in, _, _ := r.src.gate.load(); in == len(answers) && r.src.inbox.waiting() == in {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	f(`[{"n":1},{"n":2}]`, []string{"traceparent=" + one, "traceparent=" + one}, "Traceparent", one)
	f(`{}`, []string{""}) // not that of the request before
	f(`{}`, []string{"traceparent=" + two + " tracestate=a=b,c=d"}, "traceparent", two, "tracestate", "a=b,c=d")
	f(`{}`, []string{"traceparent=" + two}, "traceparent", two, "tracestate", strings.Repeat("a", 513))
	f(`{}`, []string{""}, "traceparent", "00-nonsense", "tracestate", "a=b")
	f(`{}`, []string{""}, "tracestate", "a=b")
	events, err := r.read(t.Context())
	if err != nil || len(events) != len(want) {
		t.Fatalf("%d events in one batch, want %d: %v", len(events), len(want), err)
	}
	pipe.Settle(events, pipe.Delivered)
	for _, a := range answers {
		r.want(<-a, 200, "events")
	}
	if !slices.Equal(r.meta, want) {
		t.Errorf("got %q, want %q", r.meta, want)
	}
	if got := traceContext(http.Header{"Traceparent": {one, two}}); got != nil {
		t.Errorf("two headers: got %q, want none", got)
	}
	if got := traceContext(http.Header{"Traceparent": {one}, "Tracestate": {"a=b", "c=d"}}); got[0][1] != "a=b,c=d" {
		t.Errorf("a state in two headers: got %q", got)
	}
}

func TestHTTPServerOtherCodecs(t *testing.T) {
	f := func(c codec.Codec, body string, want ...string) {
		t.Helper()
		r := startHTTP(t, func(s *HTTPServer) { s.Codec = c })
		stop := r.run(pipe.Delivered)
		r.want(r.post(body, "Content-Type", "text/plain"), 200, fmt.Sprint(len(want)))
		stop()
		if !slices.Equal(r.got, want) {
			t.Errorf("%s: got %q, want %q", c.Type, r.got, want)
		}
	}
	f(codec.Lines(), "a\r\n\nb", "a", "", "b")
	f(codec.Raw(), "a\nb\n", "a\nb\n")
	f(codec.CSV(), "x,y\n1,2\n", `{"x":"1","y":"2"}`)
}

func TestHTTPServerOpenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := func(set func(*HTTPServer), want string) {
		t.Helper()
		s := newHTTPServer(t, set)
		if err := s.Open(t.Context(), pipetest.Env()); err == nil || err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	at := taken.Addr().String()
	f(func(s *HTTPServer) { s.Listen = at }, "listen "+at+": address already in use: another process has the port; change listen or stop it")
	f(func(s *HTTPServer) { s.Listen = "192.0.2.1:0" }, "listen 192.0.2.1:0: this machine does not have the address; use 0.0.0.0 in listen for all it has")
	f(func(s *HTTPServer) { s.TLS = &web.ServerTLS{Cert: "/no/c", Key: "/no/k"} }, "tls: cert: open /no/c: no such file or directory")
}

func TestHTTPServerValidate(t *testing.T) {
	f := func(set func(*HTTPServer), field, want string) {
		t.Helper()
		c, _ := pipe.Lookup(pipe.KindSource, "http_server")
		s := c.New().(*HTTPServer)
		set(s)
		var fe *pipe.FieldError
		if err := s.Validate(); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f(func(s *HTTPServer) { s.Listen = "8080" }, "listen", "host:port")
	f(func(s *HTTPServer) { s.Listen = "h:99999" }, "listen", "65535")
	f(func(s *HTTPServer) { s.Listen = "h:http" }, "listen", "65535")
	f(func(s *HTTPServer) { s.Path = "in" }, "path", "begin with /")
	f(func(s *HTTPServer) { s.Methods = nil }, "methods", "POST")
	f(func(s *HTTPServer) { s.Headers = []string{"ok", "not ok"} }, "headers[1]", "header")
	f(func(s *HTTPServer) { s.Health = "load" }, "health", "begin with /")
	f(func(s *HTTPServer) { s.Health = s.Path }, "health", "another one")
	f(func(s *HTTPServer) { s.PerClient.Rate = 1. / 3601 }, "per_client.rate", "at least 1/h")
	f(func(s *HTTPServer) { s.PerClient.Burst = 5 }, "per_client.burst", "needs rate")
	f(func(s *HTTPServer) { s.TrustedProxies = []string{"10.0.0.1", "proxy"} }, "trusted_proxies[1]", "address or a network")
	f(func(s *HTTPServer) { s.TrustedProxies = []string{"fe80::1%eth0"} }, "trusted_proxies[0]", "address or a network")
	f(func(s *HTTPServer) { s.TrustedProxies = []string{"0.0.0.0/0"} }, "trusted_proxies[0]", "everybody")
	f(func(s *HTTPServer) { s.TrustedProxies = []string{"::/0"} }, "trusted_proxies[0]", "everybody")
	f(func(s *HTTPServer) { s.TrustedProxies = []string{"10.1.2.3/8"} }, "trusted_proxies[0]", "10.0.0.0/8")
	f(func(s *HTTPServer) { s.ClientHeader = "X-Real-IP" }, "client_header", "trusted_proxies")
	f(func(s *HTTPServer) { s.TrustedProxies, s.ClientHeader = []string{"::1"}, "for warded" }, "client_header", "not the name")
	f(func(s *HTTPServer) { s.TrustedProxies, s.ClientHeader = []string{"::1"}, "forwarded" }, "client_header", "X-Forwarded-For")
	f(func(s *HTTPServer) { s.Codec = codec.CSV(); s.Codec.Header = false }, "codec.columns", "columns")
}
