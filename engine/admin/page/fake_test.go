package page_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/explain"
	"github.com/pipectl/pipectl/engine/pipe"
)

// fake is the admin API over a simulated pipeline: what the page is shown can be
// scripted, and a simulated second takes as long as the test wants.
type fake struct {
	page  http.Handler
	beat  time.Duration // real time of a simulated second
	token string

	mu      sync.Mutex // guards what follows
	world   *world
	past    []engine.Status // the newest last
	history explain.History
	now     time.Time
	base    map[string]config.EdgeSettings // before the last change
	trial   *control.Trial
	entries []control.Entry
	down    bool // every request is cut off
	patches []string
}

// newFake makes a pipeline that has been running for past seconds.
func newFake(page http.Handler, w *world, beat time.Duration, past int) *fake {
	f := &fake{page: page, beat: beat, world: w, now: time.Now().Add(-time.Duration(past) * time.Second)}
	f.history = explain.History{Every: 1, Edges: map[string]explain.EdgeSeries{}, Nodes: map[string]explain.NodeSeries{}, Latency: map[string]explain.LatencySeries{}}
	f.entries = []control.Entry{{Generation: 1, At: f.now, Who: "start"}}
	f.tick(past)
	f.now = time.Now()
	return f
}

// tick simulates seconds.
func (f *fake) tick(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.world.second()
		f.now = f.now.Add(time.Second)
		f.past = append(f.past, f.world.status())
		if len(f.past) > 20 {
			f.past = f.past[1:]
		}
		f.remember()
	}
}

// remember enters a sample into the history.
func (f *fake) remember() {
	h, w := &f.history, f.world
	h.Times = append(h.Times, f.now.UnixMilli())
	for id, e := range w.edges {
		s := h.Edges[id]
		s.Rate, s.Dropped = append(s.Rate, float32(e.left)), append(s.Dropped, float32(e.lost))
		s.Fill, s.Blocked = append(s.Fill, float32(e.queued/e.room())), append(s.Blocked, float32(e.pressed))
		h.Edges[id] = s
	}
	for name, n := range w.nodes {
		s := h.Nodes[name]
		s.Rate, s.OutRate = append(s.Rate, float32(n.took)), append(s.OutRate, float32(n.took))
		h.Nodes[name] = s
		if n.kind != pipe.KindSink {
			continue
		}
		l := h.Latency[name]
		l.P50, l.P95, l.P99 = append(l.P50, float32(n.late*.8)), append(l.P95, float32(n.late*1.3)), append(l.P99, float32(n.late*1.6))
		h.Latency[name] = l
	}
}

// after is the part of a history since a time in Unix milliseconds.
func after(h explain.History, since int64) explain.History {
	n, _ := slices.BinarySearch(h.Times, since)
	part := explain.History{Every: h.Every, Times: h.Times[n:], Edges: map[string]explain.EdgeSeries{}, Nodes: map[string]explain.NodeSeries{}, Latency: map[string]explain.LatencySeries{}}
	for id, s := range h.Edges {
		part.Edges[id] = explain.EdgeSeries{Rate: s.Rate[n:], Dropped: s.Dropped[n:], Fill: s.Fill[n:], Blocked: s.Blocked[n:]}
	}
	for name, s := range h.Nodes {
		part.Nodes[name] = explain.NodeSeries{Rate: s.Rate[n:], OutRate: s.OutRate[n:]}
	}
	for name, s := range h.Latency {
		part.Latency[name] = explain.LatencySeries{P50: s.P50[n:], P95: s.P95[n:], P99: s.P99[n:]}
	}
	return part
}

// run simulates until the test ends.
func (f *fake) run(done <-chan struct{}) {
	tick := time.NewTicker(f.beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.tick(1)
		case <-done:
			return
		}
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler)
	}
	path, isAPI := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if !isAPI {
		f.page.ServeHTTP(w, r)
		return
	}
	if f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "the token is wrong"})
		return
	}
	if r.Method != http.MethodGet && (r.Header.Get("X-Pipectl") != "1" || r.Header.Get("Content-Type") != "application/json") {
		answer(w, http.StatusForbidden, map[string]string{"error": "changes need the header X-Pipectl: 1"})
		return
	}
	f.route(w, r, path)
}

func (f *fake) route(w http.ResponseWriter, r *http.Request, path string) {
	id, isEdge := strings.CutPrefix(path, "edges/")
	switch {
	case path == "events":
		f.events(w, r)
	case path == "history":
		f.mu.Lock()
		defer f.mu.Unlock()
		since, _ := strconv.ParseInt(r.FormValue("since"), 10, 64)
		if ago, err := time.ParseDuration(r.FormValue("since")); err == nil {
			since = f.now.Add(-ago).UnixMilli()
		}
		answer(w, http.StatusOK, after(f.history, since))
	case path == "reloads":
		f.mu.Lock()
		defer f.mu.Unlock()
		answer(w, http.StatusOK, map[string]any{"reloads": f.entries})
	case path == "confirm":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.trial = nil
		answer(w, http.StatusOK, map[string]any{})
	case path == "revert":
		f.revert(w)
	case isEdge && strings.HasSuffix(id, "/tap"):
		f.tap(w, r, strings.TrimSuffix(id, "/tap"))
	case isEdge && r.Method == http.MethodPatch:
		f.patch(w, r, id)
	case isEdge:
		f.mu.Lock()
		defer f.mu.Unlock()
		answer(w, http.StatusOK, map[string]any{"id": id, "settings": settingsOf(f.world.edges[id].settings)})
	default:
		answer(w, http.StatusNotFound, map[string]string{"error": "there is nothing here"})
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(text) // the page may be gone
}

func settingsOf(s config.EdgeSettings) map[string]any {
	policy := map[string]any{"type": s.Policy.Type}
	if s.Policy.Timeout > 0 {
		policy["timeout"], policy["then"] = s.Policy.Timeout.String(), s.Policy.Then
	}
	if s.Policy.Type == config.Sample {
		policy["base_rate"], policy["min_rate"], policy["threshold"] = s.Policy.BaseRate, s.Policy.MinRate, s.Policy.Threshold
	}
	return map[string]any{"policy": policy, "on_drop": s.OnDrop, "on_shrink": s.OnShrink, "priority": s.Priority,
		"buffer": map[string]any{"events": s.Buffer.Events, "bytes": s.Buffer.Bytes.String(), "age": s.Buffer.Age.String()}}
}

// moment is a message of the stream of events.
func (f *fake) moment() map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.past[len(f.past)-1]
	text, err := json.Marshal(last)
	if err != nil {
		panic(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		panic(err)
	}
	from := f.past[max(0, len(f.past)-11)]
	for _, s := range f.past {
		if s.Generation == last.Generation {
			from = s
			break
		}
	}
	m["why"] = explain.Why(from, last)
	m["order"] = map[string]any{"sources": last.SourceNames, "stages": last.StageNames, "sinks": last.SinkNames, "edges": last.EdgeNames}
	m["admin"] = map[string]any{"version": "test", "last_reload": control.Last{Success: true, Trial: f.trial}}
	return m
}

func (f *fake) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		f.mu.Lock()
		down := f.down
		f.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		sse(w, "status", f.moment())
		select {
		case <-time.After(f.beat):
		case <-r.Context().Done():
			return
		}
	}
}

func sse(w http.ResponseWriter, event string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text)
	w.(http.Flusher).Flush()
}

// tap shows ten events and then only counts.
func (f *fake) tap(w http.ResponseWriter, r *http.Request, id string) {
	if strings.Contains(r.FormValue("where"), ">>") {
		answer(w, http.StatusBadRequest, map[string]string{"error": `where: unexpected token ">" (column 9)`})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	shown := int64(0)
	for {
		f.mu.Lock()
		now, seen := f.now, int64(f.world.edges[id].offered)
		f.mu.Unlock()
		for ; shown < 10; shown++ {
			sse(w, "sample", engine.TapEvent{Time: now, ID: fmt.Sprint(8812 + shown), Origin: "access.log:8812", AgeMS: 41, Size: 264, Meta: map[string]string{"host": "web-3"},
				Event: json.RawMessage(fmt.Sprintf(`{"status":503,"method":"GET","path":"/checkout/%d","bytes":1843,"client_ip":"203.0.113.7"}`, shown))})
		}
		sse(w, "counts", engine.TapCounts{Seen: seen, Shown: shown, Skipped: seen - shown})
		select {
		case <-time.After(f.beat):
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fake) patch(w http.ResponseWriter, r *http.Request, id string) {
	var body json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "bad JSON"})
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.patches = append(f.patches, string(body))
	e := f.world.edges[id]
	next, found := config.ParseEdgeSettings(body, e.settings)
	if found.HasErrors() {
		answer(w, http.StatusUnprocessableEntity, map[string]any{"error": "the settings are not valid", "diagnostics": found})
		return
	}
	out := f.outcome(id, e.settings, next)
	if r.FormValue("dry_run") != "" {
		out.Result, out.DryRun = control.DryRun, true
		answer(w, http.StatusOK, out)
		return
	}
	f.base = map[string]config.EdgeSettings{id: e.settings}
	f.change(id, next, &out)
	if within, err := time.ParseDuration(r.FormValue("confirm_within")); err == nil {
		until := time.Now().Add(within)
		out.Reverts, f.trial = &until, &control.Trial{Generation: out.Generation, ConfirmBy: &until}
	}
	answer(w, http.StatusOK, out)
}

func (f *fake) outcome(id string, before, after config.EdgeSettings) control.Outcome {
	e := f.world.edges[id]
	g := f.world.generation
	return control.Outcome{Result: control.Applied, Who: "api 127.0.0.1", MemoryBefore: 96 << 20, MemoryAfter: 96 << 20,
		ReloadReceipt: engine.ReloadReceipt{Generation: g + 1, Before: g, Class: diff.Live, At: time.Now(), PausedUS: 41,
			Changes: []diff.Change{{Part: "edge", Name: id, Action: diff.Changed, Class: diff.Live,
				Fields: []diff.Field{{Path: "policy", Before: before.Policy.Type, After: after.Policy.Type}}}},
			Edges: []engine.EdgeReceipt{{Edge: id, Action: diff.Changed, BeforeText: before.String(), AfterText: after.String(),
				CarriedOver: int64(e.queued), BlockedProducers: int(math.Ceil(e.pressed)), PausedUS: 23}}}}
}

// change puts settings in force.
func (f *fake) change(id string, next config.EdgeSettings, out *control.Outcome) {
	f.world.edges[id].settings = next
	f.world.generation++
	f.entries = append(f.entries, control.Entry{Generation: f.world.generation, At: time.Now(), Who: out.Who, Class: diff.Live, Changes: out.Changes})
}

func (f *fake) revert(w http.ResponseWriter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out control.Outcome
	for id, s := range f.base {
		out = f.outcome(id, f.world.edges[id].settings, s)
		f.change(id, s, &out)
	}
	f.base, f.trial = nil, nil
	answer(w, http.StatusOK, out)
}

// cut makes the server drop every connection, or take them again.
func (f *fake) cut(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// sent returns the bodies of the changes that came.
func (f *fake) sent() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.patches...)
}
