package metrics

import (
	"net/http"

	"github.com/pipectl/pipectl/engine"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds how many scrapes are served at a time; more are told to come
// back later.
const maxScrapes = 8

// Handler returns an HTTP handler for the metrics of a pipeline, of the Go runtime
// and of the process. It has a registry of its own, so several pipelines in one
// program do not meet. See NewCollector for status and o.
func Handler(status func() engine.Status, o Options) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(NewCollector(status, o),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}
