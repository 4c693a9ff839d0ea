package sources

import (
	"net/http"
	"strings"
)

// fullLoad is the load from which the source counts as overloaded, as at the
// admin endpoint.
const fullLoad = 0.8

// health answers load balancers: with 200 while requests find a place, with 503
// when they had to wait soon, wait already, or are turned away. It takes no place
// and counts in no limit, so that it answers when nothing else gets through.
func (v *visit) health() {
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		v.w.Header().Set("Allow", "GET, HEAD")
		v.refuse(&refusal{code: http.StatusMethodNotAllowed, text: "use GET"})
		return
	}
	if v.s.gate.isShut() {
		v.answer(http.StatusServiceUnavailable, map[string]any{"error": closing().text})
		return
	}
	inside, waiting, _ := v.s.gate.load()
	load := float64(inside+waiting) / float64(v.s.MaxConcurrent)
	code := http.StatusOK
	if load >= fullLoad {
		code = http.StatusServiceUnavailable
	}
	v.w.Header().Set("Cache-Control", "no-store")
	v.answer(code, map[string]any{"load": load, "limit": fullLoad})
}

func (s *HTTPServer) validateHealth(bad func(field, format string, args ...any)) {
	switch {
	case s.Health == "":
	case !strings.HasPrefix(s.Health, "/"):
		bad("health", "%q must begin with /", s.Health)
	case s.Health == s.Path:
		bad("health", "%s is the path of the events: use another one, such as /health/load", s.Health)
	}
}
