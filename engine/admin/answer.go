package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/diff"
)

// handler answers a request. An error is answered by the server; nothing may
// have been written then.
type handler func(w http.ResponseWriter, r *http.Request) error

// problem is an error that clients may see.
type problem struct {
	status  int
	message string
}

func (p *problem) Error() string { return p.message }

func badRequest(format string, args ...any) error {
	return &problem{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// refusal is the body of every answer that is no success.
type refusal struct {
	Error       string             `json:"error"`
	Diagnostics config.Diagnostics `json:"diagnostics,omitempty"`
	Changes     []diff.Change      `json:"changes,omitempty"` // those that cannot be made
}

// serve runs h and answers its error. A panic is an error of ours.
func (s *Server) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler {
				s.o.Log.Error("admin: BUG: a request panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				writeJSON(w, http.StatusInternalServerError, hidden)
			}
		}()
		protect(w.Header())
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// hidden is what a client learns of an error of ours.
var hidden = refusal{Error: "something went wrong in pipectl; its log says what"}

func protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// fail answers err.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	var refused *engine.RefusedError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		if p.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="pipectl"`)
		}
		writeJSON(w, p.status, refusal{Error: p.message})
	case errors.As(err, &refused):
		writeJSON(w, refusedStatus(err, refused), refusal{refused.Reason, refused.Diagnostics, refused.Changes})
	case errors.As(err, &large):
		writeJSON(w, http.StatusRequestEntityTooLarge, refusal{Error: fmt.Sprintf("the body is larger than %d bytes", large.Limit)})
	case r.Context().Err() != nil: // nobody waits for the answer
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		writeJSON(w, http.StatusServiceUnavailable, refusal{Error: "it took too long; nothing was changed"})
	default:
		s.o.Log.Error("admin: request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		writeJSON(w, http.StatusInternalServerError, hidden)
	}
}

// refusedStatus tells apart why a change was refused.
func refusedStatus(err error, refused *engine.RefusedError) int {
	switch {
	case refused.Busy, errors.Is(err, control.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, control.ErrUnknownEdge):
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

// writeJSON writes an answer. A client that is gone is no error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	writeBody(w, status, "application/json", encode(v))
}

// encode renders v as one line of JSON. Names of edges stay readable: a -> is no
// HTML.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("BUG: " + err.Error())
	}
	return b.Bytes()
}

func writeBody(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}
