package admin

import (
	"fmt"
	"net/http"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/expr"
)

// eventsEvery is the time between two messages of the stream of events, and
// between two counts of a tap.
const eventsEvery = time.Second

// stream sends server-sent events to one client.
type stream struct {
	w    http.ResponseWriter
	ctrl *http.ResponseController
}

// open begins a stream, if there is a place for it. The caller calls leave.
func (s *Server) open(w http.ResponseWriter, r *http.Request) (st *stream, leave func(), err error) {
	select {
	case s.streams <- struct{}{}:
	default:
		w.Header().Set("Retry-After", "5")
		return nil, nil, &problem{http.StatusServiceUnavailable, fmt.Sprintf("%d streams are open, which is all there may be: close a page or a tap", maxStreams)}
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies pass messages on at once
	w.WriteHeader(http.StatusOK)
	return &stream{w, http.NewResponseController(w)}, func() { <-s.streams }, nil
}

// send sends one message, a line of JSON, and waits for a slow client up to streamWait. An error
// means that the client is gone.
func (st *stream) send(event string, data []byte) error {
	if err := st.ctrl.SetWriteDeadline(time.Now().Add(streamWait)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(st.w, "event: %s\ndata: %s\n", event, data); err != nil {
		return err
	}
	return st.ctrl.Flush()
}

func (st *stream) sendJSON(event string, v any) error {
	return st.send(event, encode(v))
}

// end says why a stream ends.
func (st *stream) end(reason string) {
	st.sendJSON("end", map[string]string{"reason": reason}) // whether it arrives does not matter any more
}

// The reasons for which a stream ends.
const (
	endPipeline = "the pipeline has ended"
	endEdge     = "the edge is gone"
)

// events sends the state of the pipeline every second. A client that is too slow
// misses some of them, never the last.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	if _, err := options(r); err != nil {
		return err
	}
	st, leave, err := s.open(w, r)
	if err != nil {
		return err
	}
	defer leave()
	if r.Method == http.MethodHead {
		return nil
	}
	tick := time.NewTicker(eventsEvery)
	defer tick.Stop()
	for st.send("status", s.moment()) == nil {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return nil
		case <-s.ending:
			st.send("status", s.momentNow())
			st.end(endPipeline)
			return nil
		}
	}
	return nil
}

// Bounds of a tap's rate, in events a second.
const (
	tapRate    = 10
	maxTapRate = 1000
)

// tap sends a sample of the events that pass an edge, and every second how many
// there were and how many of them it did not show.
func (s *Server) tap(w http.ResponseWriter, r *http.Request) error {
	e, err := s.edgeOf(r)
	if err != nil {
		return err
	}
	o, err := tapOptions(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		return nil
	}
	t, err := s.o.Engine.Tap(e.ID, o)
	if err != nil {
		return &problem{http.StatusConflict, err.Error()}
	}
	defer t.Close()
	st, leave, err := s.open(w, r)
	if err != nil {
		return err
	}
	defer leave()
	s.show(r, st, t)
	return nil
}

func tapOptions(r *http.Request) (o engine.TapOptions, err error) {
	q, err := options(r, "where", "rate")
	if err != nil {
		return o, err
	}
	if o.Rate, err = q.rate("rate", tapRate, maxTapRate); err != nil {
		return o, err
	}
	if where := q["where"]; where != "" {
		o.Where = new(expr.Bool)
		if err := o.Where.UnmarshalText([]byte(where)); err != nil {
			return o, badRequest("where: %v", err)
		}
	}
	return o, nil
}

// show passes on what a tap sees until the client, the edge or the pipeline goes.
func (s *Server) show(r *http.Request, st *stream, t *engine.Tap) {
	tick := time.NewTicker(eventsEvery)
	defer tick.Stop()
	err := st.sendJSON("counts", t.Counts())
	for err == nil {
		select {
		case e, open := <-t.C:
			if !open {
				st.sendJSON("counts", t.Counts())
				st.end(endEdge)
				return
			}
			err = st.sendJSON("sample", e)
		case <-tick.C:
			err = st.sendJSON("counts", t.Counts())
		case <-r.Context().Done():
			return
		case <-s.ending:
			st.sendJSON("counts", t.Counts())
			st.end(endPipeline)
			return
		}
	}
}
