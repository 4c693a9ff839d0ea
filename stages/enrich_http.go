package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("enrich_http", func() pipe.Stage {
		return &EnrichHTTP{EnrichRule: EnrichRule{OnMissing: onPass}, RequestTimeout: pipe.Duration(2 * time.Second), MaxConcurrent: 8,
			CacheKeys: 10_000, TTL: pipe.Duration(5 * time.Minute), MissingTTL: pipe.Duration(30 * time.Second), MaxBytes: 64 << 10}
	})
}

// EnrichHTTP asks a service for a JSON object by a key and adds what it finds
// there to the event. Answers are remembered.
//
// A service that does not answer holds events up, and the stages and sources
// before them: timeouts, broken connections, 408, 429 and 5xx are tried again as the
// stage's retry, deadline and breaker say, after a 429 or 503 not before its
// Retry-After; any other answer but 200 fails the event. That a key is not known
// (404, or 204) is an answer, and remembered like any other.
//
// Example:
//
//	type: enrich_http
//	key: user_id
//	url: "http://users.internal/users/{key}"
//	take: [name, plan]
//	ttl: 10m
//	retry: {max_attempts: 5}
type EnrichHTTP struct {
	EnrichRule `yaml:",inline"`

	// URL is what to ask, with {key} in the place of the key:
	// http://users.internal/users/{key}.
	URL string `yaml:"url" required:"true"`

	// Headers are sent with each request. They are never printed: they often hold
	// credentials.
	Headers map[string]string `yaml:"headers" secret:"true"`

	// RequestTimeout bounds one request, 2s by default.
	RequestTimeout pipe.Duration `yaml:"request_timeout" above:"0s"`

	// MaxConcurrent is how many requests may be under way, 8 by default. Events
	// with the same key share one.
	MaxConcurrent int `yaml:"max_concurrent" min:"1" max:"1000"`

	// CacheKeys is how many answers are remembered, 10,000 by default. At the limit
	// the one that was not used for the longest time is forgotten.
	CacheKeys int `yaml:"cache_keys" min:"1" max:"10000000"`

	// TTL is for how long an answer is remembered, 5m by default.
	TTL pipe.Duration `yaml:"ttl" above:"0s"`

	// MissingTTL is for how long it is remembered that a key is not known, 30s by
	// default.
	MissingTTL pipe.Duration `yaml:"missing_ttl" above:"0s"`

	// MaxBytes is how large an answer may be, 64KiB by default.
	MaxBytes pipe.Size `yaml:"max_bytes" min:"1"`

	plan  takePlan
	place string // the URL for messages
	http  *http.Client
	slots chan struct{} // one for each request under way

	mu    sync.Mutex // guards what follows
	cache *simplelru.LRU[string, answer]
	calls map[string]*call
}

const keyPlace = "{key}"

// Validate checks the URL and the headers.
func (h *EnrichHTTP) Validate() error {
	errs := h.validate()
	least := func(field string, value, least int64) {
		if value < least {
			errs = append(errs, pipe.Fieldf(field, "must be at least %d, got %d", least, value))
		}
	}
	least("max_concurrent", int64(h.MaxConcurrent), 1)
	least("cache_keys", int64(h.CacheKeys), 1)
	least("max_bytes", int64(h.MaxBytes), 1)
	above := func(field string, value pipe.Duration) {
		if value <= 0 {
			errs = append(errs, fieldError(field, "such as 10s", "must be above 0"))
		}
	}
	above("request_timeout", h.RequestTimeout)
	above("ttl", h.TTL)
	above("missing_ttl", h.MissingTTL)
	u, err := url.Parse(strings.ReplaceAll(h.URL, keyPlace, "key"))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		errs = append(errs, pipe.Fieldf("url", "this is not a URL: write http://host:port/path/{key}"))
	case u.User != nil:
		errs = append(errs, fieldError("url", `use headers: {Authorization: "Basic …"}`, "user and password do not belong here"))
	case !strings.Contains(h.URL, keyPlace):
		errs = append(errs, fieldError("url", "such as "+h.URL+"?key={key}", "does not say where the key goes"))
	case strings.Contains(h.URL[:strings.Index(h.URL, "://")+3+len(u.Host)], "{"):
		errs = append(errs, pipe.Fieldf("url", "the key must not choose the host"))
	}
	for name, value := range h.Headers {
		if name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\n\x00") {
			errs = append(errs, pipe.Fieldf("headers."+name, "this is not a header"))
		}
	}
	return errors.Join(errs...)
}

// answer is what the service said about a key, until it has to be asked again.
type answer struct {
	row   *row
	until time.Time
}

// call is a question under way.
type call struct {
	done chan struct{} // closed when row and err are there
	row  *row
	err  error
}

// CallsOut makes the stage one that the engine guards like a sink.
func (h *EnrichHTTP) CallsOut() {}

// Open prepares the client. It does not connect.
func (h *EnrichHTTP) Open(context.Context, pipe.Env) (err error) {
	if h.plan, err = h.planTake(""); err != nil {
		return err
	}
	if h.cache, err = simplelru.NewLRU[string, answer](h.CacheKeys, nil); err != nil {
		return err
	}
	h.place, _, _ = strings.Cut(h.URL, "?")
	h.calls, h.slots = map[string]*call{}, make(chan struct{}, h.MaxConcurrent)
	if h.http != nil { // a test's
		return nil
	}
	h.http = &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxConnsPerHost:        h.MaxConcurrent,
			MaxIdleConnsPerHost:    h.MaxConcurrent,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Close closes the idle connections.
func (h *EnrichHTTP) Close(context.Context) error {
	if h.http != nil {
		h.http.CloseIdleConnections()
	}
	return nil
}

// MaxBatch returns how many events are asked about together.
func (h *EnrichHTTP) MaxBatch() int { return min(256, 8*max(1, h.MaxConcurrent)) }

// Process asks about all events, several at a time, and decides about them in
// order, up to the first for which there is no answer.
func (h *EnrichHTTP) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	scratch := out.Scratch()
	keys := make([]keyed, len(in))
	for i, e := range in {
		keys[i] = h.keyOf(e, &out.Arena, scratch)
	}
	out.KeepScratch(scratch)
	found := h.find(ctx, keys)
	for i, e := range in {
		err := found[i].err
		switch {
		case keys[i].err != nil:
			out.Fail(e, keys[i].err)
		case err == nil:
			h.decide(e, found[i].row, out)
		case pipe.ClassOf(err, pipe.Retryable) == pipe.Permanent:
			out.Fail(e, err)
		default:
			return err
		}
	}
	return nil
}

// result is what became of one question.
type result struct {
	row *row
	err error
}

// find takes what is remembered and asks for the rest.
func (h *EnrichHTTP) find(ctx context.Context, keys []keyed) []result {
	found := make([]result, len(keys))
	open := make([]int, 0, len(keys))
	now := time.Now()
	h.mu.Lock()
	for i, k := range keys {
		if !k.known {
			continue
		}
		if a, ok := h.remembered(k.key, now); ok {
			found[i].row = a.row
		} else {
			open = append(open, i)
		}
	}
	h.mu.Unlock()
	next := make(chan int, len(open))
	for _, i := range open {
		next <- i
	}
	close(next)
	var asking sync.WaitGroup
	for range min(len(open), h.MaxConcurrent) {
		asking.Go(func() {
			for i := range next {
				found[i].row, found[i].err = h.get(ctx, keys[i].key)
			}
		})
	}
	asking.Wait()
	return found
}

// remembered is called with mu held.
func (h *EnrichHTTP) remembered(key string, now time.Time) (answer, bool) {
	a, ok := h.cache.Get(key)
	return a, ok && now.Before(a.until)
}

// get returns the answer for a key. Who asks for what somebody else is asking for
// already waits for that answer; if the other is cancelled he asks himself.
func (h *EnrichHTTP) get(ctx context.Context, key string) (*row, error) {
	for {
		h.mu.Lock()
		if a, ok := h.remembered(key, time.Now()); ok {
			h.mu.Unlock()
			return a.row, nil
		}
		c := h.calls[key]
		if c == nil {
			c = &call{done: make(chan struct{}), err: context.Canceled}
			h.calls[key] = c
			h.mu.Unlock()
			h.ask(ctx, key, c)
			if c.err != nil && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return c.row, c.err
		}
		h.mu.Unlock()
		select {
		case <-c.done:
			if !errors.Is(c.err, context.Canceled) {
				return c.row, c.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ask asks and remembers the answer. That it was cancelled is no answer: c says so
// already, and whoever waits for it asks himself.
func (h *EnrichHTTP) ask(ctx context.Context, key string, c *call) {
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.calls, key)
		if c.err == nil {
			ttl := h.TTL
			if c.row == nil {
				ttl = h.MissingTTL
			}
			h.cache.Add(key, answer{c.row, time.Now().Add(ttl.D())})
		}
		close(c.done)
	}()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return
	}
	if row, err := h.once(ctx, key); err == nil || ctx.Err() == nil {
		c.row, c.err = row, err
	}
}

// once asks once.
func (h *EnrichHTTP) once(ctx context.Context, key string) (*row, error) {
	limited, cancel := context.WithTimeout(ctx, h.RequestTimeout.D())
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, h.address(key), nil)
	if err != nil {
		return nil, pipe.Classed(pipe.Permanent, fmt.Errorf("GET %s: the key does not make a URL", h.place))
	}
	req.Header.Set("User-Agent", "pipectl")
	req.Header.Set("Accept", "application/json")
	for name, value := range h.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := h.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, and the key in it
		}
		if limited.Err() != nil {
			err = fmt.Errorf("no answer within request_timeout %v", h.RequestTimeout)
		}
		return nil, pipe.Classed(pipe.Retryable, fmt.Errorf("GET %s: %w", h.place, err))
	}
	defer resp.Body.Close()
	return h.judge(resp)
}

// address puts a key into the URL: into the path as one segment, behind ? as a
// value.
func (h *EnrichHTTP) address(key string) string {
	path, query, has := strings.Cut(h.URL, "?")
	segment := url.PathEscape(key)
	if key == "." || key == ".." { // a step, if it were sent as it is
		segment = strings.ReplaceAll(key, ".", "%2E")
	}
	path = strings.ReplaceAll(path, keyPlace, segment)
	if !has {
		return path
	}
	return path + "?" + strings.ReplaceAll(query, keyPlace, url.QueryEscape(key))
}

// judge reads an answer. nil without an error means that the key is not known.
func (h *EnrichHTTP) judge(resp *http.Response) (*row, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(h.MaxBytes)+1))
	code := resp.StatusCode
	e := &pipe.Error{Class: pipe.Permanent}
	switch {
	case code == http.StatusNotFound, code == http.StatusNoContent:
		return nil, nil
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		e.Class = pipe.Throttled
		if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
			e.RetryAfter = time.Duration(n) * time.Second
		}
	case code == http.StatusRequestTimeout, code >= 500:
		e.Class = pipe.Retryable
	}
	switch {
	case code != http.StatusOK:
		e.Err = fmt.Errorf("GET %s: %d %s", h.place, code, http.StatusText(code))
		return nil, e
	case err != nil:
		return nil, pipe.Classed(pipe.Retryable, fmt.Errorf("GET %s: the answer breaks off: %w", h.place, err))
	case len(body) > int(h.MaxBytes):
		e.Err = fmt.Errorf("GET %s: the answer has more than max_bytes, which is %v", h.place, h.MaxBytes)
		return nil, e
	}
	object, err := record.FromJSON(body, nil)
	if err != nil {
		e.Err = fmt.Errorf("GET %s: the answer must be a JSON object: %w", h.place, jsonMistake(err))
		return nil, e
	}
	return h.plan.row(object, topPaths{}), nil
}
