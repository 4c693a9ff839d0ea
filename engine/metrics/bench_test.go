package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/edge"
	"github.com/pipectl/pipectl/engine/pipe"
)

// chain is the status of a pipeline with so many edges in a row.
func chain(edges int) engine.Status {
	s := engine.Status{Pipeline: "chain", Generation: 1, Sources: map[string]engine.SourceStatus{}, Stages: map[string]engine.StageStatus{},
		Edges: map[string]engine.EdgeStatus{}, Sinks: map[string]engine.SinkStatus{}}
	h := engine.Histogram{Bounds: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60}, Counts: make([]int64, 15)}
	node := engine.NodeStatus{Workers: 1, Errors: map[pipe.Class]int64{}}
	s.Sources["in"] = engine.SourceStatus{NodeStatus: node}
	s.Sinks["out"] = engine.SinkStatus{NodeStatus: node, RequestSeconds: h, EndToEnd: h}
	from := "in"
	for i := range edges {
		to := fmt.Sprintf("stage_%d", i)
		if i == edges-1 {
			to = "out"
		} else {
			s.Stages[to] = engine.StageStatus{NodeStatus: node, Processing: h}
		}
		s.Edges[from+"->"+to] = engine.EdgeStatus{From: from, To: to, Capacity: 1024, Policy: string(edge.Block), Dropped: map[string]int64{}}
		from = to
	}
	return s
}

// BenchmarkScrape is one scrape of a pipeline, from its status to the bytes of
// the answer.
func BenchmarkScrape(b *testing.B) {
	for _, edges := range []int{6, 1000} {
		b.Run(fmt.Sprintf("edges=%d", edges), func(b *testing.B) {
			s := chain(edges)
			h := Handler(func() engine.Status { return s }, Options{})
			request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			var answer *httptest.ResponseRecorder
			b.ReportAllocs()
			for b.Loop() {
				answer = httptest.NewRecorder()
				h.ServeHTTP(answer, request)
			}
			b.ReportMetric(float64(answer.Body.Len()), "bytes/scrape")
		})
	}
}
