package main

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/explain"
)

// drivesChange does what the example says: asks why, changes the edge and sees
// the source speed up.
func drivesChange(t *testing.T, r *rig) {
	p := r.start(t)
	p.await("http://127.0.0.1:")
	api := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(p.seen.String())
	ask := func(method, path, body string, into any) {
		t.Helper()
		req, err := http.NewRequest(method, api+path, strings.NewReader(body))
		mustDo(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Pipectl", "1")
		resp, err := http.DefaultClient.Do(req)
		mustDo(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		mustDo(t, err)
		if err := json.Unmarshal(text, into); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
		}
	}
	pace := func() int64 {
		t.Helper()
		var a, b engine.Status
		ask("GET", "/api/v1/status", "", &a)
		time.Sleep(500 * time.Millisecond)
		ask("GET", "/api/v1/status", "", &b)
		return 2 * (b.Sources["meter"].Read - a.Sources["meter"].Read)
	}
	var why explain.Report
	for why.Limiting == "" {
		time.Sleep(100 * time.Millisecond)
		ask("GET", "/api/v1/why", "", &why)
	}
	must(t, why.Limiting == "archive" && why.Cause == explain.CauseThrottled, "the throttled stage limits", why)
	before := pace()
	var out engine.ReloadReceipt
	ask("PATCH", "/api/v1/edges/meter-%3Earchive", `{"policy": "drop-oldest"}`, &out)
	must(t, out.Generation == 2 && len(out.Edges) == 1 && out.Edges[0].CarriedOver > 0, "the edge keeps what it holds", out)
	after := pace()
	must(t, before < 1000 && after > 3*before, "the source speeds up", before, after)
	p.drained(r)
}
