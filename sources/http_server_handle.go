package sources

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
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
	defer s.handlers.Done()
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= 128 {
		w.Header().Set("X-Request-Id", id)
	}
	if no := s.check(w, r); no != nil {
		s.refuse(w, no)
		return
	}
	compression, no := encoding(r)
	if no != nil {
		s.refuse(w, no)
		return
	}
	deadline := time.Now().Add(s.MaxWait.D())
	if no := s.admit(r, s.MaxWait.D()); no != nil {
		s.refuse(w, no)
		return
	}
	s.inside(w, r, compression, time.Until(deadline))
}

// enlist counts a handler, unless Close has begun.
func (s *HTTPServer) enlist() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
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

// inside handles a request that holds a place. The place is given back here,
// unless the pipeline takes the events: then by who settles them.
func (s *HTTPServer) inside(w http.ResponseWriter, r *http.Request, c codec.Compression, patience time.Duration) {
	held := true
	defer func() {
		if held { // also after a panic
			s.gate.leave()
		}
	}()
	data, no := s.receive(w, r, c)
	if no != nil {
		s.refuse(w, no)
		return
	}
	p := &post{taken: make(chan bool, 1), result: make(chan pipe.Outcome, 1)}
	if p.events, no = s.decode(data); no != nil {
		s.refuse(w, no)
		return
	}
	n := len(p.events)
	if n == 0 { // an empty array
		s.confirm(w, 0)
		return
	}
	for _, name := range s.Headers {
		if v := r.Header.Get(name); v != "" {
			p.meta = append(p.meta, [2]string{name, v})
		}
	}
	p.trace = traceContext(r.Header)
	if no := s.submit(p, patience); no != nil {
		s.refuse(w, no)
		return
	}
	held = false
	if no := s.outcome(p); no != nil {
		s.refuse(w, no)
		return
	}
	s.confirm(w, n)
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
func (s *HTTPServer) confirm(w http.ResponseWriter, events int) {
	code := http.StatusOK
	if s.Respond == respondAccepted {
		code = http.StatusAccepted
	}
	answer(w, code, map[string]any{"events": events})
}

// refuse answers a request that was not. Before it answers, the server reads up to
// 256 KiB of what is unread of the body, to keep the connection: not longer than
// discardIn.
func (s *HTTPServer) refuse(w http.ResponseWriter, no *refusal) {
	s.reject(no.code)
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(discardIn))
	if no.retry {
		wait := s.gate.retryAfter(s.MaxWait.D())
		w.Header().Set("Retry-After", strconv.Itoa(retrySeconds(wait)))
	}
	answer(w, no.code, map[string]any{"error": no.text})
}

// answer writes the whole answer, so that nothing of it is left when the server
// is closed.
func answer(w http.ResponseWriter, code int, content map[string]any) {
	body, err := json.Marshal(content)
	if err != nil {
		panic("BUG: answer: " + err.Error())
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Now().Add(answerIn))
	w.WriteHeader(code)
	w.Write(body) // an error means that the client is gone: there is nobody to tell
	control.Flush()
}
