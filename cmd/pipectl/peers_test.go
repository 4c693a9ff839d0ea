package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPeersReloadIsAcknowledged: after a reload the log, the live configuration,
// the metrics and the edge itself agree that it is in force, and after a refused
// one that it is not.
func TestPeersReloadIsAcknowledged(t *testing.T) {
	p := startRun(t, flowing, "--admin", "127.0.0.1:0")
	p.await("http://127.0.0.1:")
	api := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(p.seen.String())
	p.awaitData()
	f := func(path string, want ...string) {
		t.Helper()
		resp, err := http.Get(api + path)
		mustDo(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		mustDo(t, err)
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s lacks %q:\n%.3000s", path, w, text)
			}
		}
	}
	p.rewrite("in -> out", "{from: in, to: out, buffer: 77, policy: drop-oldest}")
	p.signal(syscall.SIGHUP)
	p.await("result=applied generation=2")
	f("/api/v1/config", "drop-oldest", "77")
	f("/api/v1/status", `"generation":2`, `"capacity":77`)
	f("/metrics", `pipectl_config_generation{pipeline="pipeline"} 2`, `pipectl_last_reload_success{pipeline="pipeline"} 1`,
		`pipectl_edge_generation{edge="in->out",pipeline="pipeline"} 2`, `pipectl_edge_capacity_events{edge="in->out",pipeline="pipeline"} 77`)
	p.rewrite("in -> out", "{from: in, to: out, buffer: 0}")
	p.signal(syscall.SIGHUP)
	p.await("result=refused generation=2")
	f("/api/v1/config", "drop-oldest", "77")
	f("/metrics", `pipectl_config_generation{pipeline="pipeline"} 2`, `pipectl_last_reload_success{pipeline="pipeline"} 0`)
	p.signal(syscall.SIGTERM)
	p.exit(0, 5*time.Second)
}
