package page_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/admin"
	"github.com/pipectl/pipectl/engine/admin/page"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

const realYAML = `
version: 1
name: real
sources: {in: {type: generate, rate: 5000/s, event: {status: '500 + seq %% 4'}}}
stages: {keep: {type: filter, where: 'status >= 500'}}
sinks:
  archive: {type: discard}
  search: {type: http, url: "%s", batch: {events: 10}}
edges:
  - in -> keep
  - keep -> archive
  - {from: keep, to: search, buffer: 500}
`

// startReal runs a pipeline with a slow sink and its endpoint, until the test
// ends. It returns the page's address.
func startReal(t *testing.T) string {
	t.Helper()
	far := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(20 * time.Millisecond) }))
	t.Cleanup(far.Close)
	cfg, found := config.Parse(fmt.Appendf(nil, realYAML, far.URL), config.Options{File: "real.yaml"})
	if cfg == nil || found.HasErrors() {
		t.Fatal(found.Err())
	}
	e, err := engine.New(cfg, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := control.New(e, control.Options{})
	recorder := explain.NewRecorder(e.Status, explain.Options{})
	s, err := admin.Listen("127.0.0.1:0", admin.Options{Engine: e, Control: c, Recorder: recorder, Page: page.Handler()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	go func() { ended <- s.Serve(ctx) }()
	go func() { recorder.Run(ctx); ended <- nil }()
	go func() { _, err := e.Run(ctx); ended <- err }()
	t.Cleanup(func() {
		c.Close()
		cancel()
		for range cap(ended) {
			<-ended
		}
	})
	return "http://" + s.Addr()
}

// The same story as with the simulated pipeline, with everything real: engine,
// control, explanation, endpoint and page.
func TestRealPipeline(t *testing.T) {
	needBrowser(t)
	url := startReal(t)
	tb := newTab(t, desk)
	tb.do(chromedp.Navigate(url))
	tb.until("the slow edge is red", is("keep->search", "blocked"))
	tb.until("the sink is named", `document.querySelector('.verdict.grave .headline')?.textContent.includes('search')`)
	tb.until("there are plots", `document.querySelectorAll('.plots canvas').length === 3`)
	tb.do(chromedp.Click(chromedp.CSS(`[data-item="edge:keep->search"] .policy`)))
	tb.until("the form is there", `document.querySelector('.settings')`)
	tb.do(chromedp.Click(chromedp.CSS(`.tap button`)))
	tb.until("the tap shows events", `document.querySelector('.tap .samples li')?.textContent.includes('"status":50')`)
	tb.do(chromedp.Click(chromedp.CSS(`.settings input[value=drop-oldest]`)), chromedp.Click(chromedp.CSS(`.settings button[type=submit]`)))
	tb.until("there is a receipt", `document.querySelector('.receipt.applied')?.textContent.includes('drop-oldest')`)
	tb.until("the edge drops", is("keep->search", "dropping"))
	tb.until("nobody waits any more", `!document.querySelector('.pipe.blocked')`)
	tb.until("the source reads all there is", `parseFloat(document.querySelector('.tile strong').textContent.replace(',', '')) > 4000`)
	tb.do(chromedp.Click(chromedp.CSS(`.receipt button`)))
	tb.until("it can be undone", is("keep->search", "blocked"))
}
