package admin

import (
	"net/http"
	"slices"
	"strings"
)

// route is one thing that clients can ask for.
type route struct {
	method, path string
	access       access
	handle       handler
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/healthz", public, s.healthz},
		{"GET", "/readyz", public, s.readyz},
		{"GET", "/health/load", reader, s.load},
		{"GET", "/metrics", reader, s.metrics},
		{"GET", "/api/v1/status", reader, s.status},
		{"GET", "/api/v1/config", reader, s.config},
		{"GET", "/api/v1/why", reader, s.why},
		{"GET", "/api/v1/history", reader, s.history},
		{"GET", "/api/v1/reloads", reader, s.reloads},
		{"GET", "/api/v1/events", reader, s.events},
		{"GET", "/api/v1/edges/{id}", reader, s.edge},
		{"GET", "/api/v1/edges/{id}/tap", reader, s.tap},
		{"PATCH", "/api/v1/edges/{id}", writer, s.patchEdge},
		{"PATCH", "/api/v1/edges", writer, s.patchEdges},
		{"POST", "/api/v1/apply", writer, s.apply},
		{"POST", "/api/v1/reload", writer, s.reload},
		{"POST", "/api/v1/confirm", writer, s.confirm},
		{"POST", "/api/v1/revert", writer, s.revert},
	}
}

// handler leads requests to their routes. A path that exists answers other
// methods with those that it has; everything else outside of the API is the
// page's.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range s.routes() {
		mux.Handle(r.method+" "+r.path, s.serve(s.guard(r.access, r.handle)))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, allowed := range methods {
		mux.Handle(path, s.serve(s.guard(reader, wrongMethod(allowed))))
	}
	mux.Handle("/api/", s.serve(s.guard(reader, nothingHere)))
	mux.Handle("/", s.serve(s.guard(public, s.page)))
	return mux
}

func wrongMethod(allowed []string) handler {
	slices.Sort(allowed)
	list := strings.Join(allowed, ", ")
	if slices.Contains(allowed, http.MethodGet) {
		list = strings.Replace(list, "GET", "GET, HEAD", 1)
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", list)
		return &problem{http.StatusMethodNotAllowed, "this path takes " + list}
	}
}

func nothingHere(http.ResponseWriter, *http.Request) error {
	return &problem{http.StatusNotFound, "there is nothing here"}
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) error {
	switch {
	case s.o.Page == nil:
		return nothingHere(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return wrongMethod([]string{http.MethodGet})(w, r)
	}
	s.o.Page.ServeHTTP(w, r)
	return nil
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	if s.o.Metrics == nil {
		return nothingHere(w, r)
	}
	s.o.Metrics.ServeHTTP(w, r)
	return nil
}
