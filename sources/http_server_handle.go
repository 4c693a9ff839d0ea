package sources

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Times that no option changes.
const (
	answerIn  = 10 * time.Second       // a client must read its answer within
	discardIn = 200 * time.Millisecond // the unread rest of a refused body must arrive within
	handover  = 50 * time.Millisecond  // a decoded request waits for Read at least this long
)

// ServeHTTP takes one request through: checks, a place, the body, the pipeline,
// the answer.
func (s *HTTPServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enlist() {
		panic(http.ErrAbortHandler)
	}
	defer s.delist()
	v := &visit{s: s, w: w, r: r, id: requestID(r.Header)}
	defer v.contain()
	w.Header().Set("X-Request-Id", v.id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if s.Health != "" && r.URL.Path == s.Health {
		v.health()
		return
	}
	if events, no := v.serve(); no != nil {
		v.refuse(no)
	} else {
		v.confirm(events)
	}
}

// enlist counts a handler. It reports false once Close has begun, and when there
// are more than all connections and places can use: HTTP/2 could make a hundred of
// each connection, and keep them by not reading their answers.
func (s *HTTPServer) enlist() bool {
	s.mu.Lock()
	closed, crowded := s.closed, s.serving >= s.MaxConnections+s.MaxConcurrent+s.MaxQueue
	if !closed && !crowded {
		s.serving++
		s.handlers.Add(1)
	}
	s.mu.Unlock()
	if crowded && !closed {
		s.refusals.overrun()
	}
	return !closed && !crowded
}

func (s *HTTPServer) delist() {
	s.mu.Lock()
	s.serving--
	s.mu.Unlock()
	s.handlers.Done()
}

// serve takes the request through until it can be answered: with how many events
// it brought, or with why not. Nothing is held any more then, so that a client that
// does not read its answer keeps nothing from others.
func (v *visit) serve() (events int, no *refusal) {
	s := v.s
	if s.gate.isShut() {
		return 0, closing()
	}
	if no := v.enter(); no != nil {
		return 0, no
	}
	defer v.release() // also after a panic
	if no := s.check(v.w, v.r); no != nil {
		return 0, no
	}
	compression, no := encoding(v.r)
	if no != nil {
		return 0, no
	}
	deadline := time.Now().Add(s.MaxWait.D())
	if no := s.admit(v.r, s.MaxWait.D()); no != nil {
		return 0, no
	}
	v.place = true
	return v.inside(compression, time.Until(deadline))
}

// enter counts the request at its client.
func (v *visit) enter() *refusal {
	if !v.s.clients.bounded() {
		return nil
	}
	c, over := v.s.clients.enter(v.from())
	if over == nil {
		v.client = c
		return nil
	}
	no := &refusal{code: http.StatusTooManyRequests, text: "too many requests", wait: over.wait}
	if over.wait == 0 {
		no.text, no.retry = "too many requests at once", true
	}
	return no
}

// release gives back what the visit still holds: nothing, once the pipeline has
// its events.
func (v *visit) release() {
	if v.passed {
		return
	}
	if v.place {
		v.s.gate.leave()
	}
	v.s.clients.leave(v.client)
}

// check refuses what can be refused by its headers.
func (s *HTTPServer) check(w http.ResponseWriter, r *http.Request) *refusal {
	switch {
	case r.URL.Path != s.Path:
		return &refusal{code: http.StatusNotFound, text: "not found"}
	case s.Token != "" && !s.knows(r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		return &refusal{code: http.StatusUnauthorized, text: "a valid bearer token is needed"}
	case !s.allows(r.Method):
		w.Header().Set("Allow", strings.Join(s.Methods, ", "))
		return &refusal{code: http.StatusMethodNotAllowed, text: "use " + strings.Join(s.Methods, " or ")}
	case !s.readable(r):
		return &refusal{code: http.StatusUnsupportedMediaType, text: "unsupported Content-Type"}
	case r.ContentLength > int64(s.MaxBody):
		return s.tooLarge()
	}
	return nil
}

func (s *HTTPServer) knows(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.Token))
	return ok && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// admit waits for a place; nil means that the request has one.
func (s *HTTPServer) admit(r *http.Request, patience time.Duration) *refusal {
	switch s.gate.enter(r.Context(), patience) {
	case turnCame:
		return nil
	case turnShut:
		return closing()
	case turnLeft:
		return &refusal{code: 499, text: "client went away"}
	}
	return full()
}

func full() *refusal {
	return &refusal{code: http.StatusServiceUnavailable, text: "pipeline is full", retry: true}
}

// inside handles a request that holds a place. The place is given back when it is
// over, unless the pipeline takes the events: then by who settles them.
func (v *visit) inside(c codec.Compression, patience time.Duration) (events int, no *refusal) {
	s := v.s
	data, no := s.receive(v.w, v.r, c)
	if no != nil {
		return 0, no
	}
	p := &post{client: v.client, taken: make(chan bool, 1), result: make(chan pipe.Outcome, 1)}
	if p.events, no = s.decode(data); no != nil {
		return 0, no
	}
	n := len(p.events)
	if n == 0 { // an empty array
		return 0, nil
	}
	p.meta = append(p.meta, [2]string{requestIDKey, v.id})
	for _, name := range s.Headers {
		if value := v.r.Header.Get(name); value != "" {
			p.meta = append(p.meta, [2]string{name, value})
		}
	}
	p.meta = append(p.meta, traceContext(v.r.Header)...)
	if no := s.submit(p, patience); no != nil {
		return 0, no
	}
	v.passed = true
	return n, s.outcome(p)
}

// traceState is the longest tracestate that is taken: what every system must
// take, says W3C Trace Context.
const traceState = 512

// traceContext returns the metadata of a request's trace; nil when it has none
// that is valid.
func traceContext(h http.Header) [][2]string {
	parents := h.Values(pipe.TraceParent)
	if len(parents) != 1 {
		return nil
	}
	if _, ok := pipe.ParseTraceParent(parents[0]); !ok {
		return nil
	}
	var m [][2]string
	if state := strings.Join(h.Values(pipe.TraceState), ","); state != "" && len(state) <= traceState {
		m = append(m, [2]string{pipe.TraceState, state})
	}
	return append(m, [2]string{pipe.TraceParent, parents[0]})
}

// submit waits until the pipeline takes the events; nil means that it has.
func (s *HTTPServer) submit(p *post, patience time.Duration) *refusal {
	if !s.inbox.put(p) {
		return closing()
	}
	timer := time.NewTimer(max(patience, handover))
	defer timer.Stop()
	select {
	case ok := <-p.taken:
		if !ok {
			return closing()
		}
		return nil
	case <-timer.C:
	}
	if s.inbox.withdraw(p) {
		return full()
	}
	if !<-p.taken {
		return closing()
	}
	return nil
}

// outcome waits until the events are settled. It does not ask whether the client
// is still there: the events travel on, and a client that has only closed its
// sending side wants the answer.
func (s *HTTPServer) outcome(p *post) *refusal {
	if s.Respond == respondAccepted {
		return nil
	}
	var late <-chan time.Time
	if s.AnswerTimeout > 0 {
		timer := time.NewTimer(s.AnswerTimeout.D())
		defer timer.Stop()
		late = timer.C
	}
	select {
	case result := <-p.result:
		return judge(result)
	case <-late:
		return &refusal{code: http.StatusGatewayTimeout, text: "not delivered in time; the events may still arrive"}
	case <-s.over:
	}
	select {
	case result := <-p.result:
		return judge(result)
	default:
		return closing()
	}
}

// judge makes an answer of how the events ended; nil is success.
func judge(result pipe.Outcome) *refusal {
	switch {
	case result.Acked():
		return nil
	case result == pipe.Failed:
		return &refusal{code: http.StatusInternalServerError, text: "the events could not be delivered"}
	case result == pipe.Returned:
		return closing()
	}
	return full()
}

// confirm answers a request that was taken.
func (v *visit) confirm(events int) {
	code := http.StatusOK
	if v.s.Respond == respondAccepted {
		code = http.StatusAccepted
	}
	v.answer(code, map[string]any{"events": events})
}

// refuse answers a request that was not. What is unread of its body is not kept:
// over HTTP/1 the server reads up to 256 KiB of it before it answers, to keep the
// connection, and not longer than discardIn.
func (v *visit) refuse(no *refusal) {
	v.s.refusals.note(v, no)
	http.NewResponseController(v.w).SetReadDeadline(time.Now().Add(discardIn))
	if v.r.ProtoMajor > 1 {
		v.r.Body.Close()
	}
	switch {
	case no.wait > 0:
		v.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.wait.Seconds()))))
	case no.retry:
		fallback := v.s.MaxWait.D()
		if no.code == http.StatusTooManyRequests {
			fallback = soonestRetry
		}
		v.w.Header().Set("Retry-After", strconv.Itoa(retrySeconds(v.s.gate.retryAfter(fallback))))
	}
	v.answer(no.code, map[string]any{"error": no.text})
}

// answer writes the whole answer, so that nothing of it is left when the server
// is closed. During a drain it is the connection's last.
func (v *visit) answer(code int, content map[string]any) {
	body, err := json.Marshal(content)
	if err != nil {
		panic("BUG: answer: " + err.Error())
	}
	body = append(body, '\n')
	h := v.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if v.s.gate.isShut() {
		h.Set("Connection", "close")
	}
	control := http.NewResponseController(v.w)
	control.SetWriteDeadline(time.Now().Add(answerIn))
	v.w.WriteHeader(code)
	v.w.Write(body) // an error means that the client is gone: there is nobody to tell
	control.Flush()
	control.SetWriteDeadline(time.Time{}) // it would hit the next request's "100 Continue"
}
