package sources

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// visit is a request on its way.
type visit struct {
	s  *HTTPServer
	w  http.ResponseWriter
	r  *http.Request
	id string

	client *client // where the request is counted; nil when nobody counts
	place  bool    // it holds a place of the gate
	passed bool    // the pipeline has its events, and with them what the visit held
}

// requestIDKey is the metadata that tells which request an event came with.
const requestIDKey = "request_id"

// longestID bounds the identity that a client may give its request.
const longestID = 128

// requestID is what the client calls its request, or a new random name. It goes
// into logs and headers of others, so that only visible ASCII without quotes and
// backslashes is taken.
func requestID(h http.Header) string {
	sent := h.Values("X-Request-Id")
	if len(sent) != 1 || sent[0] == "" || len(sent[0]) > longestID {
		return rand.Text()
	}
	for i := range len(sent[0]) {
		if c := sent[0][i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return rand.Text()
		}
	}
	return sent[0]
}

// from names the client.
func (v *visit) from() string { return v.s.origins.of(v.r) }

// contain keeps a panic to its request. What it held has been given back.
func (v *visit) contain() {
	p := recover()
	switch {
	case p == nil:
		return
	case p == http.ErrAbortHandler:
		panic(p)
	}
	v.s.log.Error("BUG: a request panicked", requestIDKey, v.id, "client", v.from(), "panic", p, "stack", string(debug.Stack()))
	v.refuse(&refusal{code: http.StatusInternalServerError, text: "something went wrong"})
}

// warnEvery is how often one kind of refusal is logged as a warning.
const warnEvery = 10 * time.Second

// refusals counts and logs requests that are not taken, without letting clients
// fill the log: what clients do wrong is for debugging; what is refused for want of
// room, or fails, is a warning now and then, with how many there were.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	counts map[int]int64
	warned map[int]warned // by status code
}

// warned is when a kind of refusal was last logged, and the count then.
type warned struct {
	at    time.Time
	count int64
}

// open prepares f. Somebody may ask for the counts already.
func (f *refusals) open(log *slog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log, f.counts, f.warned = log, map[int]int64{}, map[int]warned{}
}

// note counts a refusal and logs it.
func (f *refusals) note(v *visit, no *refusal) {
	level, n := slog.LevelDebug, f.count(no.code, no.loud())
	if n > 0 {
		level = slog.LevelWarn
	}
	if f.log.Enabled(context.Background(), level) {
		f.log.Log(context.Background(), level, "request refused", "code", no.code, "why", no.text,
			requestIDKey, v.id, "client", v.from(), "refused", max(n, 1))
	}
}

// loud reports whether people must hear of a refusal.
func (no *refusal) loud() bool {
	return (no.code == http.StatusTooManyRequests || no.code >= http.StatusInternalServerError) && !no.ending
}

// count counts a refusal. When it is loud and time for a warning, it returns how
// many of its code there were since the last one, else 0.
func (f *refusals) count(code int, loud bool) int64 {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[code]++
	last := f.warned[code]
	if !loud || now.Sub(last.at) < warnEvery {
		return 0
	}
	f.warned[code] = warned{now, f.counts[code]}
	return f.counts[code] - last.count
}

// byCode returns the counts by status code.
func (f *refusals) byCode() map[string]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := make(map[string]int64, len(f.counts))
	for code, n := range f.counts {
		m[strconv.Itoa(code)] = n
	}
	return m
}

// connection counts a connection that was closed because its client has too many.
func (f *refusals) connection(client string) {
	if n := f.count(http.StatusTooManyRequests, true); n > 0 {
		f.log.Warn("connection refused", "why", "too many connections of one client", "client", client, "refused", n)
	}
}

// overrun counts a request that was cut off because too many clients do not read
// their answers.
func (f *refusals) overrun() {
	if n := f.count(http.StatusServiceUnavailable, true); n > 0 {
		f.log.Warn("request cut off", "why", "too many clients do not read their answers", "refused", n)
	}
}

// crowd is the key under which it is remembered when clients were too many.
const crowd = 0

// crowded logs that there are more clients than are remembered.
func (f *refusals) crowded(most int) {
	now := time.Now()
	f.mu.Lock()
	due := now.Sub(f.warned[crowd].at) >= warnEvery
	if due {
		f.warned[crowd] = warned{at: now}
	}
	f.mu.Unlock()
	if due {
		f.log.Warn("more clients than per_client.max_clients; further ones share one set of limits", "max_clients", most)
	}
}
