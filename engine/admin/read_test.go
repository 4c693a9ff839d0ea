package admin

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
)

func TestHealth(t *testing.T) {
	r := newRig(t, "")
	f := func(state engine.State, ready int) {
		t.Helper()
		r.fake.state = state
		wantStatus(t, string(state)+" live", r.do("GET", "/healthz", ""), 200)
		w := r.do("GET", "/readyz", "")
		wantStatus(t, string(state)+" ready", w, ready)
		if want := fmt.Sprintf(`{"ready":%v,"state":%q}`, ready == 200, state); strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("got %s, want %s", w.Body, want)
		}
	}
	f("", 503)
	f(engine.Starting, 503)
	f(engine.Running, 200)
	f(engine.Draining, 503)
	f(engine.Stopping, 503)
	f(engine.Drained, 503)
	f(engine.Failed, 503)
}

// TestReadyStalled: a stalled pipeline is not ready and says why; one that waits as
// it was told is, and says what it waits for.
func TestReadyStalled(t *testing.T) {
	r := newRig(t, "")
	r.fake.state = engine.Running
	f := func(told bool, status int, want string) {
		t.Helper()
		r.fake.stall = &engine.Stall{Since: time.Now().Add(-65 * time.Second), Told: told, Chain: []string{"source in waits", "sink out hangs"}}
		w := r.do("GET", "/readyz", "")
		wantStatus(t, "ready", w, status)
		if got := strings.TrimSpace(w.Body.String()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(false, 503, `{"ready":false,"state":"running","reason":"stalled for 1m5s: source in waits; sink out hangs"}`)
	f(true, 200, `{"ready":true,"state":"running","reason":"waiting, as it was told, for 1m5s: source in waits; sink out hangs"}`)
}

func TestLoad(t *testing.T) {
	r := newRig(t, "")
	f := func(fill float64, status int, want string) {
		t.Helper()
		r.fill = fill
		w := r.do("GET", "/health/load", "")
		wantStatus(t, "load", w, status)
		if got := strings.TrimSpace(w.Body.String()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(0, 200, `{"load":0.1,"limit":0.8,"edge":"in->keep","queued":10,"capacity":64}`)
	f(0.79, 200, `{"load":0.79,"limit":0.8,"edge":"dead","queued":79,"capacity":100}`)
	f(0.8, 503, `{"load":0.8,"limit":0.8,"edge":"dead","queued":80,"capacity":100}`)
	f(1, 503, `{"load":1,"limit":0.8,"edge":"dead","queued":100,"capacity":100}`)
}

func TestStatus(t *testing.T) {
	r := newRig(t, "")
	w := r.do("GET", "/api/v1/status", "")
	var got struct {
		engine.Status
		At    time.Time
		Order order
		Admin struct {
			Version    string
			LastReload struct{ Success bool } `json:"last_reload"`
		}
		Why *struct{}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Pipeline != "small" || got.Outcome != engine.Running || got.Sources["in"].Read != 7 || got.Edges["in->keep"].Queued != 10 ||
		time.Since(got.At) > time.Minute || got.Admin.Version != "v-test" || !got.Admin.LastReload.Success || got.Why != nil {
		t.Errorf("got %s", w.Body)
	}
	want := order{[]string{"in"}, []string{}, []string{}, []string{"in->keep", "dead"}}
	if !reflect.DeepEqual(got.Order, want) {
		t.Errorf("order %+v, want %+v; in %s", got.Order, want, w.Body)
	}
}

func TestConfigHidesSecrets(t *testing.T) {
	r := newRig(t, "")
	w := r.do("GET", "/api/v1/config", "")
	wantStatus(t, "config", w, 200)
	body := w.Body.String()
	if strings.Contains(body, "s3cret") || !strings.Contains(body, "***") {
		t.Errorf("config:\n%s", body)
	}
	if !strings.Contains(body, "in -> keep") && !strings.Contains(body, "from: in") || w.Header().Get("Content-Type") != "application/yaml" {
		t.Errorf("%v\n%s", w.Header(), body)
	}
}

// The settings of an edge are in the form that PATCH takes: sending them back
// changes nothing, and they make the same edge of any other.
func TestEdgeSettingsGoBothWays(t *testing.T) {
	r := newRig(t, "")
	for _, e := range r.cfg.Edges {
		w := r.do("GET", "/api/v1/edges/"+url.PathEscape(e.ID), "")
		wantStatus(t, e.ID, w, 200)
		var got struct {
			ID, From, Port, To, Text string
			Settings                 json.RawMessage
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.ID != e.ID || got.From != e.From || got.Port != e.Port || got.To != e.To || got.Text != e.EdgeSettings.String() {
			t.Errorf("got %s", w.Body)
		}
		for _, base := range r.cfg.Edges {
			back, ds := config.ParseEdgeSettings(got.Settings, base.EdgeSettings)
			if len(ds) > 0 || !back.Equal(e.EdgeSettings) {
				t.Errorf("%s over %s: %s\ngot  %s\nwant %s\n%v", e.ID, base.ID, got.Settings, back, e.EdgeSettings, ds)
			}
		}
	}
	if len(r.cfg.Edges) != 3 {
		t.Error("the pipeline has other edges")
	}
}

func TestEdgeIDsInPaths(t *testing.T) {
	r := newRig(t, "")
	wantStatus(t, "as it is", r.do("GET", "/api/v1/edges/in->keep", ""), 200)
	wantStatus(t, "escaped", r.do("GET", "/api/v1/edges/in-%3Ekeep", ""), 200)
	wantStatus(t, "escaped all", r.do("GET", "/api/v1/edges/%69%6e%2d%3ekeep", ""), 200)
	w := r.do("GET", "/api/v1/edges/in->kep", "")
	wantStatus(t, "unknown", w, 404)
	if want := `{"error":"there is no edge \"in->kep\", did you mean \"in->keep\"?"}`; strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	wantStatus(t, "unknown", r.do("PATCH", "/api/v1/edges/nothing", `{"buffer": 5}`), 404)
	wantStatus(t, "unknown", r.do("GET", "/api/v1/edges/nothing/tap", ""), 404)
}

func TestWindows(t *testing.T) {
	r := newRig(t, "")
	f := func(path string, status int, want string) {
		t.Helper()
		r.took()
		w := r.do("GET", "/api/v1/"+path, "")
		wantStatus(t, path, w, status)
		if got := r.took(); got != want {
			t.Errorf("%s: asked for %q, want %q", path, got, want)
		}
	}
	f("why", 200, "why 30s")
	f("why?window=1m", 200, "why 1m0s")
	f("why?window=0s", 400, "")
	f("why?window=1h", 400, "")
	f("why?window=soon", 400, "")
	f("why?windw=1m", 400, "")
	f("why?window=1m&window=2m", 400, "")
	f("why?window=%zz", 400, "")
	f("history", 200, "history 0001-01-01T00:00:00Z")
	f("history?since=1500", 200, "history 1970-01-01T00:00:01.5Z")
	f("history?since=yesterday", 400, "")
	f("history?since=-2m", 400, "")
	f("reloads", 200, "")
	wantStatus(t, "history?since=2m", r.do("GET", "/api/v1/history?since=2m", ""), 200)
	ago, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(r.took(), "history "))
	if d := time.Since(ago); err != nil || d < 2*time.Minute || d > 3*time.Minute {
		t.Errorf("since 2m: %v (%v)", ago, err)
	}
}
