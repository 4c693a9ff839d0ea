package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
)

// live is a pipeline that runs, and its endpoint, in faked time.
type live struct {
	*testing.T
	*pipes
	server *Server
	engine *engine.Engine
	token  string
}

const liveYAML = `
version: 1
name: live
admin: {token: "%s"}
sources: {in: {type: generate, rate: 1000/s, event: {n: seq}}}
stages: {keep: {type: filter, where: 'n >= 0'}}
sinks: {out: {type: discard}}
edges:
  - {from: in, to: keep, buffer: 64}
  - keep -> out
`

func runLive(t *testing.T, token string, f func(l *live)) {
	t.Helper()
	read := func(text string) (*config.Pipeline, config.Diagnostics) {
		return config.Parse([]byte(text), config.Options{File: "live.yaml", Env: func(string) (string, bool) { return "", false }})
	}
	file := liveText(token)
	cfg, ds := read(file)
	if cfg == nil {
		t.Fatal(ds.Err())
	}
	synctest.Test(t, func(t *testing.T) {
		e, err := engine.New(cfg, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := newPipes()
		c := control.New(e, control.Options{
			Load:  func() (*config.Pipeline, config.Diagnostics) { return read(file) },
			Parse: func(yaml []byte) (*config.Pipeline, config.Diagnostics) { return read(string(yaml)) },
		})
		recorder := explain.NewRecorder(e.Status, explain.Options{})
		s := newServer(p, Options{Engine: e, Control: c, Recorder: recorder, Token: token}, nil, true)
		ctx, cancel := context.WithCancel(t.Context())
		served, recorded := make(chan error, 1), make(chan bool)
		go func() { served <- s.Serve(ctx) }()
		go func() { recorder.Run(ctx); close(recorded) }()
		ran := make(chan error, 1)
		go func() { _, err := e.Run(t.Context()); ran <- err }()
		time.Sleep(100 * time.Millisecond)
		f(&live{t, p, s, e, token})
		e.Drain()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		c.Close()
		cancel()
		<-recorded
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func liveText(token string) string { return fmt.Sprintf(liveYAML, token) }

// ask makes one request of its own connection.
func (l *live) ask(method, path, body string) (int, string) {
	l.Helper()
	c := l.dial()
	defer c.Close()
	l.send(c, method, path, body)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		l.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		l.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func (l *live) send(c net.Conn, method, path, body string) {
	l.Helper()
	_, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: localhost\r\nX-Pipectl: 1\r\nContent-Type: application/yaml\r\n"+
		"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", method, path, l.token, len(body), body)
	if err != nil {
		l.Fatal(err)
	}
}

// want makes a request and checks its status and that its answer has all texts.
func (l *live) want(status int, method, path, body string, texts ...string) string {
	l.Helper()
	got, text := l.ask(method, path, body)
	if got != status {
		l.Errorf("%s %s: got %d %s, want %d", method, path, got, text, status)
	}
	for _, want := range texts {
		if !strings.Contains(text, want) {
			l.Errorf("%s %s: no %s in %s", method, path, want, text)
		}
	}
	return text
}

const edgePath = "/api/v1/edges/in-%3Ekeep"

func TestRealChanges(t *testing.T) {
	runLive(t, "", func(l *live) {
		l.want(200, "GET", "/readyz", "", `"ready":true`)
		l.want(200, "GET", "/api/v1/status", "", `"generation":1`, `"edges":["in->keep","keep->out"]`)
		l.want(200, "PATCH", edgePath, `{"buffer": 32, "policy": "drop-oldest"}`, `"generation":2`, `"result":"applied"`, `"class":"live"`)
		l.want(200, "GET", edgePath, "", `"policy":{"type":"drop-oldest"}`, `"events":32`)
		l.want(200, "PATCH", edgePath+"?dry_run=1", `{"buffer": 99}`, `"result":"dry_run"`)
		l.want(200, "PATCH", edgePath, `{"buffer": 32}`, `"result":"unchanged"`, `"generation":2`)
		l.want(422, "PATCH", edgePath, `{"buffer": 0}`, `"diagnostics":[{`, `"line":1`, `buffer: must be at least 1`)
		l.want(200, "PATCH", "/api/v1/edges", `{"in->keep": {"buffer": 16}, "keep->out": {"buffer": 16}}`, `"generation":3`)
		l.want(404, "PATCH", "/api/v1/edges", `{"in->kep": {"buffer": 16}}`, `did you mean`)
		l.want(422, "POST", "/api/v1/apply", "version: 1\nsources: {in: {type: generte}}\n", `"line":2`, `generte`)
		l.want(422, "POST", "/api/v1/apply", strings.Replace(liveText(""), "1000/s", "7/s", 1), `"class":"restart"`)
		l.want(200, "POST", "/api/v1/apply", strings.Replace(liveText(""), "n >= 0", "n >= 1", 1), `"class":"swap"`, `"generation":4`)
		l.want(200, "POST", "/api/v1/reload", "", `"generation":5`)
		l.want(200, "GET", "/api/v1/reloads", "", `"reloads":[{"generation":1`, `"generation":5`, `"who":"api pipe"`)
		l.want(200, "POST", "/api/v1/revert", "", `"generation":6`)
		l.want(200, "GET", "/api/v1/config", "", "n >= 1")
		l.want(200, "PATCH", edgePath+"?confirm_within=30s", `{"buffer": 8}`, `"generation":7`, `"reverts":`)
		l.want(409, "PATCH", edgePath, `{"buffer": 9}`, `generation 7`)
		l.want(200, "POST", "/api/v1/confirm", `{"generation": 7}`, `"result":"confirmed"`)
		l.want(200, "PATCH", edgePath+"?confirm_within=30s", `{"buffer": 7}`, `"generation":8`)
		time.Sleep(31 * time.Second)
		l.want(200, "GET", edgePath, "", `"events":8`)
		l.want(200, "GET", "/api/v1/why?window=10s", "", `"sentences":[`)
		l.want(200, "GET", "/api/v1/history?since=10s", "", `"in->keep":{"rate":[`)
		l.engine.Drain()
		synctest.Wait()
		l.want(409, "PATCH", edgePath, `{"buffer": 9}`, `"error":"the pipeline is`)
		l.want(503, "GET", "/readyz", "", `"ready":false`)
	})
}

// A tap says what it has shown and what it has not.
func TestRealTap(t *testing.T) {
	runLive(t, "", func(l *live) {
		c := l.dial()
		l.send(c, "GET", edgePath+"/tap?rate=5&where="+url.QueryEscape("n % 2 == 0"), "")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		r := bufio.NewReader(resp.Body)
		samples, seconds := 0, 0
		var counts engine.TapCounts
		for seconds < 5 {
			switch event, data := message(r); event {
			case "sample":
				samples++
				var e engine.TapEvent
				var body struct{ N int }
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(e.Event, &body); err != nil || body.N%2 != 0 {
					t.Fatalf("sample %s: %v", data, err)
				}
			case "counts":
				seconds++
				if err := json.Unmarshal([]byte(data), &counts); err != nil {
					t.Fatal(err)
				}
			default:
				t.Fatalf("got %q %s", event, data)
			}
		}
		if counts.Seen != counts.Filtered+counts.Shown+counts.Skipped || counts.Seen < 3000 || counts.Filtered < 1000 ||
			counts.Shown < 15 || counts.Shown > 30 || int64(samples) > counts.Shown || int64(samples) < counts.Shown-1 || counts.Skipped < 1000 {
			t.Errorf("after %d samples in 4 s at 5/s: %+v", samples, counts)
		}
		go l.server.Close()
		for {
			event, data := message(r)
			if event == "end" {
				if !strings.Contains(data, "the pipeline has ended") {
					t.Errorf("end: %s", data)
				}
				break
			}
			if event == "" {
				t.Fatal("no end")
			}
		}
		c.Close()
	})
}

func TestRealTapEndsWithItsEdge(t *testing.T) {
	runLive(t, "", func(l *live) {
		c := l.dial()
		defer c.Close()
		l.send(c, "GET", "/api/v1/edges/keep->out/tap", "")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		ended := make(chan string, 1)
		go func() {
			r := bufio.NewReader(resp.Body)
			for {
				if event, data := message(r); event == "end" || event == "" {
					ended <- data
					return
				}
			}
		}()
		without := strings.Replace(liveText(""), "  - keep -> out", "  - {from: keep, to: out, name: other}", 1)
		l.want(200, "POST", "/api/v1/apply", without, `"result":"applied"`)
		if got := <-ended; got != `{"reason":"the edge is gone"}` {
			t.Errorf("end: %s", got)
		}
	})
}

func TestRealTapRefusals(t *testing.T) {
	runLive(t, "", func(l *live) {
		tap := edgePath + "/tap?"
		l.want(400, "GET", tap+"where="+url.QueryEscape("n %"), "", "where: ")
		l.want(400, "GET", tap+"where=1", "", "where: ")
		l.want(400, "GET", tap+"rate=0", "", "rate: a number above 0")
		l.want(400, "GET", tap+"rate=NaN", "", "rate: a number above 0")
		l.want(400, "GET", tap+"rate=1e9", "", "rate: a number above 0")
		l.want(400, "GET", tap+"wher=x", "", `did you mean \"where\"`)
		l.want(404, "GET", "/api/v1/edges/nothing/tap", "")
		for range 20 { // a client that goes gives its tap back
			c := l.dial()
			l.send(c, "GET", tap+"rate=1", "")
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v %v", resp, err)
			}
			c.Close()
			time.Sleep(time.Second)
			synctest.Wait()
		}
	})
}

// No answer, whatever was asked, has the token in it.
func TestRealSecretsStayInside(t *testing.T) {
	const token = "tell-nobody-4711"
	runLive(t, token, func(l *live) {
		var all strings.Builder
		for _, r := range l.server.routes() {
			if isStream(r.path) {
				continue
			}
			_, text := l.ask(r.method, target(r.path), "")
			all.WriteString(text)
		}
		for _, body := range []string{
			strings.Replace(liveText("another-secret-0815"), "x", "y", -1),
			strings.Replace(liveText("another-secret-0815"), "n >= 0", "n >", 1),
			liveText("another-secret-0815"),
		} {
			for _, query := range []string{"", "?dry_run=1"} {
				_, text := l.ask("POST", "/api/v1/apply"+query, body)
				all.WriteString(text)
			}
		}
		c := l.dial()
		defer c.Close()
		l.send(c, "GET", "/api/v1/events", "")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, data := message(bufio.NewReader(resp.Body))
		all.WriteString(data)
		for _, secret := range []string{token, "another-secret-0815"} {
			if i := strings.Index(all.String(), secret); i >= 0 {
				t.Errorf("an answer has %s: …%s…", secret, all.String()[max(0, i-200):i+60])
			}
		}
		if !strings.Contains(all.String(), "***") {
			t.Error("nothing was redacted: does this test still ask for the configuration?")
		}
	})
}
