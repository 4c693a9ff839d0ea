package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const smallYAML = `
version: 1
name: small
admin: {token: "${PIPECTL_TOKEN:-}"}
sources: {in: {type: generate, rate: 1000/s}}
stages: {keep: {type: filter, where: 'n >= 0'}}
sinks: {out: {type: discard}, bad: {type: discard}}
edges:
  - {from: in, to: keep, buffer: 64, policy: {type: block, timeout: 5s, then: drop-oldest}}
  - {from: keep, to: out, policy: {type: sample, key: user, min_rate: 0.5}, on_drop: ack, buffer: {age: 30s, bytes: 1MiB}}
  - {from: keep.failed, to: bad, name: dead, policy: drop-oldest}
`

func parse(t testing.TB, text string) *config.Pipeline {
	t.Helper()
	p, ds := config.Parse([]byte(text), config.Options{File: "small.yaml", Env: func(name string) (string, bool) {
		return "s3cret-in-file", name == "PIPECTL_TOKEN"
	}})
	if p == nil {
		t.Fatal(ds.Err())
	}
	return p
}

// fake is a pipeline, its recorder and its controller. Calls are written down.
type fake struct {
	cfg *config.Pipeline

	mu    sync.Mutex // guards what follows
	state engine.State
	fill  float64
	stall *engine.Stall
	calls []string
	last  control.Change
	err   error // what changes come to
	panic any
}

func (f *fake) Status() engine.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panic != nil {
		panic(f.panic)
	}
	s := engine.Status{Pipeline: "small", Outcome: f.state, Generation: 3, Seconds: 1.5, Stall: f.stall,
		Sources: map[string]engine.SourceStatus{"in": {Read: 7}}, SourceNames: []string{"in"},
		Edges: map[string]engine.EdgeStatus{
			"in->keep": {Capacity: 64, Queued: 10, Utilization: 0.1},
			"dead":     {Capacity: 100, Queued: int64(100 * f.fill), Utilization: f.fill}},
		EdgeNames: []string{"in->keep", "dead"}}
	return s
}

func (f *fake) Config() *config.Pipeline { return f.cfg }

func (f *fake) Tap(string, engine.TapOptions) (*engine.Tap, error) {
	panic("BUG: taps are tested with an engine")
}

func (f *fake) History(since time.Time) explain.History {
	f.note("history " + since.UTC().Format(time.RFC3339Nano))
	return explain.History{Every: 1}
}

func (f *fake) Why(window time.Duration) explain.Report {
	f.note("why " + window.String())
	return explain.Report{Pipeline: "small", Limiting: "out", Cause: explain.CauseExternal}
}

func (f *fake) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fake) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := strings.Join(f.calls, "; ")
	f.calls = nil
	return calls
}

func (f *fake) change(call string, c control.Change) (control.Outcome, error) {
	f.note(call)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = c
	return control.Outcome{Result: control.Applied, Who: c.Who, ReloadReceipt: engine.ReloadReceipt{Generation: 4, Before: 3}}, f.err
}

func (f *fake) Reload(_ context.Context, who string) (control.Outcome, error) {
	return f.change("reload", control.Change{Who: who})
}

func (f *fake) Apply(_ context.Context, yaml []byte, c control.Change) (control.Outcome, error) {
	return f.change("apply "+string(yaml), c)
}

func (f *fake) PatchEdge(_ context.Context, id string, body []byte, c control.Change) (control.Outcome, error) {
	return f.change("patch "+id+" "+string(body), c)
}

func (f *fake) PatchEdges(_ context.Context, bodies map[string]json.RawMessage, c control.Change) (control.Outcome, error) {
	text, err := json.Marshal(bodies)
	return f.change("patches "+string(text), errorless(c, err))
}

func errorless(c control.Change, err error) control.Change {
	if err != nil {
		panic(err)
	}
	return c
}

func (f *fake) Confirm(_ context.Context, generation uint64, who string) error {
	_, err := f.change("confirm", control.Change{Who: who})
	if generation != 4 {
		return errors.New("the fake knows generation 4 only")
	}
	return err
}

func (f *fake) Revert(_ context.Context, who string) (control.Outcome, error) {
	return f.change("revert", control.Change{Who: who})
}

func (f *fake) Last() control.Last { return control.Last{Success: true, Generation: 3, Who: "start"} }

// controlOf makes a Control of a fake, whose History is that of the recorder.
type controlOf struct{ *fake }

func (controlOf) History() []control.Entry { return []control.Entry{{Generation: 3, Who: "start"}} }

// rig is a server that is called without a network, and what it logged.
type rig struct {
	*Server
	*fake
	log *bytes.Buffer
}

func newRig(t testing.TB, token string) *rig {
	t.Helper()
	f := &fake{cfg: parse(t, smallYAML), state: engine.Running}
	r := &rig{fake: f, log: &bytes.Buffer{}}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the page at "+r.URL.Path) })
	metrics := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "pipectl_up 1\n") })
	s, err := Listen("127.0.0.1:0", Options{Engine: f, Control: controlOf{f}, Recorder: f, Page: page, Metrics: metrics,
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Token: token, Version: "v-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r.Server = s
	return r
}

// do makes a request as a program on this machine would; headers are "Name: value"
// and win over the usual ones, "Name:" takes one away.
func (r *rig) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, target, reader)
	req.Host, req.RemoteAddr = "127.0.0.1:9464", "127.0.0.1:40000"
	req.Header.Set("X-Pipectl", "1")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		value = strings.TrimSpace(value)
		switch {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(name)
		default:
			req.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	r.http.Handler.ServeHTTP(w, req)
	return w
}
