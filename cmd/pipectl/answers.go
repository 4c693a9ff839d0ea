package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
)

// liveStatus is the state of a running pipeline, as its admin endpoint tells it.
type liveStatus struct {
	engine.Status
	At    time.Time `json:"at"`
	Order struct {
		Sources []string `json:"sources"`
		Stages  []string `json:"stages"`
		Sinks   []string `json:"sinks"`
		Edges   []string `json:"edges"`
	} `json:"order"`
	Admin struct {
		Version    string       `json:"version"`
		LastReload control.Last `json:"last_reload"`
	} `json:"admin"`
	Why *explain.Report `json:"why"` // only in the stream of events
}

// trial is the change that is on trial, nil when none is.
func (s *liveStatus) trial() *control.Trial { return s.Admin.LastReload.Trial }

// complete puts the names in order: that of the file when the endpoint says it.
func (s *liveStatus) complete() {
	o := s.Order
	s.SourceNames, s.StageNames = inOrder(o.Sources, s.Sources), inOrder(o.Stages, s.Stages)
	s.SinkNames, s.EdgeNames = inOrder(o.Sinks, s.Sinks), inOrder(o.Edges, s.Edges)
}

// inOrder returns names if they are those of m, else the keys of m, sorted.
func inOrder[V any](names []string, m map[string]V) []string {
	if len(names) == len(m) {
		known := true
		for _, n := range names {
			_, ok := m[n]
			known = known && ok
		}
		if known {
			return names
		}
	}
	return sortedKeys(m)
}

// status asks for the state of the pipeline; answer is what came.
func (k *client) status(ctx context.Context) (s liveStatus, answer []byte, err error) {
	answer, err = k.ask(ctx, get("api", "v1", "status"), &s)
	if err == nil && s.Edges == nil {
		err = k.stranger("its answer has no edges")
	}
	s.complete()
	return s, answer, err
}

// why asks what limits the pipeline, over the last window.
func (k *client) why(ctx context.Context, window time.Duration) (r explain.Report, answer []byte, err error) {
	c := get("api", "v1", "why")
	c.query = url.Values{"window": {window.String()}}
	answer, err = k.ask(ctx, c, &r)
	return r, answer, err
}

// history asks for the samples of the last span.
func (k *client) history(ctx context.Context, span time.Duration) (h explain.History, err error) {
	c := get("api", "v1", "history")
	c.query = url.Values{"since": {strconv.FormatInt(time.Now().Add(-span).UnixMilli(), 10)}}
	_, err = k.ask(ctx, c, &h)
	return h, err
}

// config asks for the configuration in force, as YAML.
func (k *client) config(ctx context.Context) ([]byte, error) {
	c := get("api", "v1", "config")
	c.accept = "application/yaml"
	return k.fetch(ctx, c)
}

// confirm keeps a change that waits for it.
func (k *client) confirm(ctx context.Context, generation uint64) ([]byte, error) {
	body := fmt.Sprintf(`{"generation": %d}`, generation)
	return k.fetch(ctx, call{method: http.MethodPost, path: []string{"api", "v1", "confirm"}, body: []byte(body)})
}

// revertCall asks for the configuration before the last change.
func revertCall() call {
	return call{method: http.MethodPost, path: []string{"api", "v1", "revert"}}
}

// edgeSettingsNow are the settings of an edge, in the form of the file.
type edgeSettingsNow struct {
	Buffer struct {
		Events int64  `json:"events"`
		Bytes  string `json:"bytes"`
		Age    string `json:"age"`
	} `json:"buffer"`
	Policy map[string]any `json:"policy"`
	OnDrop string         `json:"on_drop"`
}

// edge asks for the settings of an edge.
func (k *client) edge(ctx context.Context, id string) (edgeSettingsNow, error) {
	var a struct {
		Settings edgeSettingsNow `json:"settings"`
	}
	_, err := k.ask(ctx, get("api", "v1", "edges", id), &a)
	return a.Settings, err
}
