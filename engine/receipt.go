package engine

import (
	"bytes"
	"encoding/json"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Receipt is the account of a run: the status at its end and the exit code.
type Receipt struct {
	Status
	ExitCode int    `json:"exit_code"`
	Error    string `json:"error,omitempty"`
}

// MarshalJSON renders the counts, under the names that Status gives them, and
// leaves out what is about a running pipeline only.
func (r Receipt) MarshalJSON() ([]byte, error) {
	type source struct {
		Read     int64            `json:"read"`
		Acked    int64            `json:"acked"`
		Nacked   int64            `json:"nacked"`
		Returned int64            `json:"returned"`
		Lost     int64            `json:"lost"`
		Failed   int64            `json:"failed,omitempty"`
		Rejected map[string]int64 `json:"rejected,omitempty"`
	}
	type stage struct {
		In       int64                `json:"in"`
		Out      int64                `json:"out"`
		Filtered int64                `json:"filtered"`
		Unrouted int64                `json:"unrouted,omitempty"`
		Failed   int64                `json:"failed"`
		Merged   int64                `json:"merged,omitempty"`
		Panics   int64                `json:"panics,omitempty"`
		Errors   map[pipe.Class]int64 `json:"errors,omitempty"`
	}
	type edge struct {
		Offered        int64            `json:"offered"`
		Admitted       int64            `json:"admitted"`
		Delivered      int64            `json:"delivered"`
		Queued         int64            `json:"queued"`
		Capacity       int64            `json:"capacity"`
		Peak           int64            `json:"peak"`
		Dropped        map[string]int64 `json:"dropped"`
		Returned       int64            `json:"returned,omitempty"`
		Policy         string           `json:"policy"`
		BlockedSeconds float64          `json:"blocked_seconds"`
		SampleRate     float64          `json:"sample_rate,omitempty"`
	}
	type sink struct {
		In        int64                `json:"in"`
		Delivered int64                `json:"delivered"`
		Failed    int64                `json:"failed"`
		Retries   int64                `json:"retries"`
		Errors    map[pipe.Class]int64 `json:"errors,omitempty"`
	}
	x := struct {
		Pipeline   string            `json:"pipeline"`
		Outcome    State             `json:"outcome"`
		ExitCode   int               `json:"exit_code"`
		Error      string            `json:"error,omitempty"`
		Generation uint64            `json:"generation"`
		Seconds    float64           `json:"seconds"`
		Sources    map[string]source `json:"sources"`
		Stages     map[string]stage  `json:"stages"`
		Edges      map[string]edge   `json:"edges"`
		Sinks      map[string]sink   `json:"sinks"`
		Balance    Balance           `json:"balance"`
	}{r.Pipeline, r.Outcome, r.ExitCode, r.Error, r.Generation, r.Seconds,
		map[string]source{}, map[string]stage{}, map[string]edge{}, map[string]sink{}, r.Balance}
	for name, s := range r.Sources {
		x.Sources[name] = source{s.Read, s.Acked, s.Nacked, s.Returned, s.Lost, s.Failed, s.Rejected}
	}
	for name, s := range r.Stages {
		x.Stages[name] = stage{s.In, s.Out, s.Filtered, s.Unrouted, s.Failed, s.Merged, s.Panics, s.Errors}
	}
	for id, s := range r.Edges {
		x.Edges[id] = edge{s.Offered, s.Admitted, s.Delivered, s.Queued, s.Capacity, s.Peak, s.Dropped, s.Returned, s.Policy, s.BlockedSeconds, s.SampleRate}
	}
	for name, s := range r.Sinks {
		x.Sinks[name] = sink{s.In, s.Delivered, s.Failed, s.Retries, s.Errors}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // "keep->out" stays readable
	err := enc.Encode(x)
	return b.Bytes(), err
}

// Exit codes of a run.
const (
	ExitDone    = 0   // done and drained
	ExitFailed  = 1   // failed while running
	ExitUsage   = 2   // invalid configuration or usage
	ExitStopped = 3   // stopped before it was drained
	ExitForced  = 130 // forced
)

func (e *Engine) receipt() Receipt {
	r := Receipt{Status: e.Status()}
	switch r.Outcome {
	case Failed:
		r.ExitCode = ExitFailed
		r.Error = e.err().Error()
	case Stopped:
		r.ExitCode = ExitStopped
	}
	return r
}

// leftBehind reports whether something that was read was not decided.
func (e *Engine) leftBehind() bool {
	e.shape.RLock()
	defer e.shape.RUnlock()
	if e.returned.Load() > 0 || e.gone.Returned > 0 {
		return true
	}
	for _, n := range e.nodes() {
		if n.count.returned.Load() > 0 {
			return true
		}
	}
	return false
}
