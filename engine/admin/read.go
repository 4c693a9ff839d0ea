package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
	"github.com/pipectl/pipectl/engine/near"
)

// healthz says that the process answers, whatever the pipeline does.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// readyz says whether the pipeline takes in events: it runs, does not end, and is
// not stalled.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	st := s.o.Engine.Status()
	answer := struct {
		Ready  bool         `json:"ready"`
		State  engine.State `json:"state"`
		Reason string       `json:"reason,omitempty"` // in words, why it is not ready or why nothing moves
	}{Ready: st.Outcome == engine.Running && !st.Stall.Stalled(), State: st.Outcome}
	if st.Stall != nil {
		answer.Reason = st.Stall.String()
	}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
	return nil
}

// fullEdge is the fill from which a pipeline counts as overloaded.
const fullEdge = 0.8

// load says how full the fullest edge is, for load balancers.
func (s *Server) load(w http.ResponseWriter, r *http.Request) error {
	answer := struct {
		Load     float64 `json:"load"`
		Limit    float64 `json:"limit"`
		Edge     string  `json:"edge"`
		Queued   int64   `json:"queued"`
		Capacity int64   `json:"capacity"`
	}{Limit: fullEdge}
	st := s.o.Engine.Status()
	for _, id := range st.EdgeNames {
		if e := st.Edges[id]; answer.Edge == "" || e.Utilization > answer.Load {
			answer.Load, answer.Edge, answer.Queued, answer.Capacity = e.Utilization, id, e.Queued, e.Capacity
		}
	}
	status := http.StatusOK
	if answer.Load >= fullEdge {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
	return nil
}

// order are the names of all parts in the order of the file.
type order struct {
	Sources []string `json:"sources"`
	Stages  []string `json:"stages"`
	Sinks   []string `json:"sinks"`
	Edges   []string `json:"edges"`
}

// statusAnswer is the state of a pipeline at a moment.
type statusAnswer struct {
	engine.Status
	At    time.Time       `json:"at"`
	Order order           `json:"order"`
	Admin adminAnswer     `json:"admin"`
	Why   *explain.Report `json:"why,omitempty"` // in the stream of events
}

// adminAnswer is what the endpoint knows beside the pipeline.
type adminAnswer struct {
	Version    string       `json:"version"`
	LastReload control.Last `json:"last_reload"`
}

func (s *Server) statusNow() statusAnswer {
	st := s.o.Engine.Status()
	list := func(names []string) []string { return append([]string{}, names...) } // never null
	return statusAnswer{Status: st, At: time.Now(),
		Order: order{list(st.SourceNames), list(st.StageNames), list(st.SinkNames), list(st.EdgeNames)},
		Admin: adminAnswer{s.o.Version, s.o.Control.Last()}}
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	writeJSON(w, http.StatusOK, s.statusNow())
	return nil
}

// config answers with the configuration in force as YAML, secrets as ***.
func (s *Server) config(w http.ResponseWriter, r *http.Request) error {
	text, err := s.o.Engine.Config().Render()
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/yaml", text)
	return nil
}

// The windows that why can look at.
const (
	defaultWindow = 30 * time.Second
	minWindow     = time.Second
	maxWindow     = 10 * time.Minute
)

func (s *Server) why(w http.ResponseWriter, r *http.Request) error {
	q, err := options(r, "window")
	if err != nil {
		return err
	}
	window, err := q.duration("window", defaultWindow, minWindow, maxWindow)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.o.Recorder.Why(window))
	return nil
}

// history answers with the last minutes: all of them, or those since a time in
// Unix milliseconds or a duration ago.
func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	q, err := options(r, "since")
	if err != nil {
		return err
	}
	since := time.Time{}
	if text := q["since"]; text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		ago, agoErr := time.ParseDuration(text)
		switch {
		case err == nil:
			since = time.UnixMilli(ms)
		case agoErr == nil && ago > 0:
			since = time.Now().Add(-ago)
		default:
			return badRequest("since: a time in Unix milliseconds or a duration such as 2m is needed")
		}
	}
	writeJSON(w, http.StatusOK, s.o.Recorder.History(since))
	return nil
}

// reloads answers with the last generations.
func (s *Server) reloads(w http.ResponseWriter, r *http.Request) error {
	answer := struct {
		Last    control.Last    `json:"last"`
		Reloads []control.Entry `json:"reloads"`
	}{s.o.Control.Last(), append([]control.Entry{}, s.o.Control.History()...)}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// edgeAnswer is an edge and its settings, in the form that PATCH takes.
type edgeAnswer struct {
	ID       string       `json:"id"`
	From     string       `json:"from"`
	Port     string       `json:"port,omitempty"`
	To       string       `json:"to"`
	Settings edgeSettings `json:"settings"`
	Text     string       `json:"text"` // the settings for people
}

type edgeSettings struct {
	Buffer struct {
		Events int    `json:"events"`
		Bytes  string `json:"bytes"`
		Age    string `json:"age"`
	} `json:"buffer"`
	Policy   map[string]any `json:"policy"`
	OnDrop   string         `json:"on_drop"`
	Priority int            `json:"priority"`
	OnShrink string         `json:"on_shrink"`
}

func (s *Server) edge(w http.ResponseWriter, r *http.Request) error {
	e, err := s.edgeOf(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, edgeAnswer{ID: e.ID, From: e.From, Port: e.Port, To: e.To,
		Settings: settingsOf(e.EdgeSettings), Text: e.EdgeSettings.String()})
	return nil
}

// edgeOf returns the edge that a request names.
func (s *Server) edgeOf(r *http.Request) (*config.Edge, error) {
	id := r.PathValue("id")
	p := s.o.Engine.Config()
	if e := p.Edge(id); e != nil {
		return e, nil
	}
	ids := []string{}
	for _, e := range p.Edges {
		ids = append(ids, e.ID)
	}
	message := fmt.Sprintf("there is no edge %q", id)
	if meant := near.Word(id, ids); meant != "" {
		message += fmt.Sprintf(", did you mean %q?", meant)
	}
	return nil, &problem{http.StatusNotFound, message}
}

func settingsOf(e config.EdgeSettings) (s edgeSettings) {
	s.Buffer.Events, s.Buffer.Bytes, s.Buffer.Age = e.Buffer.Events, e.Buffer.Bytes.String(), e.Buffer.Age.String()
	s.OnDrop, s.Priority, s.OnShrink = e.OnDrop, e.Priority, e.OnShrink
	s.Policy = map[string]any{"type": e.Policy.Type}
	switch p := e.Policy; {
	case p.Type == config.Block && p.Timeout > 0:
		s.Policy["timeout"], s.Policy["then"] = p.Timeout.String(), p.Then
	case p.Type == config.Sample:
		s.Policy["base_rate"], s.Policy["min_rate"], s.Policy["threshold"] = p.BaseRate, p.MinRate, p.Threshold
		if !p.Key.IsZero() {
			s.Policy["key"] = p.Key.Source()
		}
	}
	return s
}

// moments keeps the last message of the stream of events, so that it is made
// once, however many read it.
type moments struct {
	mu   sync.Mutex // guards what follows
	at   time.Time
	data []byte
}

// whyWindow is how far back the explanation in the stream of events looks.
const whyWindow = 10 * time.Second

// moment returns the state of the pipeline, explained, as JSON; not older than
// half of the time between two messages.
func (s *Server) moment() []byte {
	s.moments.mu.Lock()
	defer s.moments.mu.Unlock()
	if s.moments.data == nil || time.Since(s.moments.at) > eventsEvery/2 {
		s.moments.data, s.moments.at = s.momentNow(), time.Now()
	}
	return s.moments.data
}

func (s *Server) momentNow() []byte {
	now, why := s.statusNow(), s.o.Recorder.Why(whyWindow)
	now.Why = &why
	return encode(now)
}
