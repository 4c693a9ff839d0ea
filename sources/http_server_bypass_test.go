package sources

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// TestHTTPServerClientsCannotBypassLimits: one client tries to look like many. A
// limit of requests lets its burst in and nothing more, whatever it does.
func TestHTTPServerClientsCannotBypassLimits(t *testing.T) {
	const burst, tries = 5, 60
	limit := func(s *HTTPServer) {
		s.PerClient.Rate, s.PerClient.Burst = 1./3600, burst
		s.TrustedProxies = []string{"10.0.0.0/8"}
		s.Token = "s3cret"
	}
	f := func(name string, set func(*HTTPServer), send func(r *httpRig, i int) (code int)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startHTTPInMemory(t, func(s *HTTPServer) {
					limit(s)
					if set != nil {
						set(s)
					}
				})
				defer r.run(pipe.Delivered)()
				passed := 0
				for i := range tries {
					if send(r, i) != http.StatusTooManyRequests {
						passed++
					}
				}
				if passed != burst {
					t.Errorf("%d requests passed, want %d", passed, burst)
				}
				if got := r.src.Rejected()["429"]; got != tries-burst {
					t.Errorf("%d were counted as refused, want %d", got, tries-burst)
				}
			})
		})
	}
	address := func() string { return fmt.Sprintf("198.51.%d.%d", rand.IntN(256), rand.IntN(256)) }
	const auth = "Authorization"
	f("other connections", nil, func(r *httpRig, i int) int {
		return r.as(fmt.Sprint("198.51.100.1:", 1000+i)).post(`{}`, auth, "Bearer s3cret").code
	})
	f("headers", nil, func(r *httpRig, i int) int {
		from, all := address(), []string{"X-Forwarded-For", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Forwarded",
			"X-Originating-Ip", "X-Remote-Ip", "Forwarded", "User-Agent", "X-Request-Id", "Cookie", "Via", "Host", "X-Pipectl"}
		headers := []string{auth, "Bearer s3cret"}
		for _, name := range all {
			value := from
			if name == "Forwarded" {
				value = "for=" + from
			}
			headers = append(headers, name, value)
		}
		return r.as("198.51.100.1:1").post(`{}`, headers...).code
	})
	f("headers behind a proxy", nil, func(r *httpRig, i int) int {
		made := address() + ", " + address() + ", 10.9.9.9"
		return r.as(fmt.Sprintf("10.0.0.%d:1", i)).post(`{}`, auth, "Bearer s3cret", "X-Forwarded-For", made+", 198.51.100.1").code
	})
	f("rubbish behind a proxy", nil, func(r *httpRig, i int) int {
		return r.as("10.0.0.1:1").post(`{}`, auth, "Bearer s3cret", "X-Forwarded-For", fmt.Sprint(address(), ", unknown", i)).code
	})
	f("a name that no proxy set", func(s *HTTPServer) { s.ClientHeader = "X-Api-Key" }, func(r *httpRig, i int) int {
		return r.as("198.51.100.1:1").post(`{}`, auth, "Bearer s3cret", "X-Api-Key", fmt.Sprint(i)).code
	})
	f("addresses of one network", nil, func(r *httpRig, i int) int {
		return r.as(fmt.Sprintf("[2001:db8:1:2:%x::%x]:1", rand.IntN(1<<16), rand.IntN(1<<16))).post(`{}`, auth, "Bearer s3cret").code
	})
	f("one address in two notations", nil, func(r *httpRig, i int) int {
		return r.as([]string{"198.51.100.1:1", "[::ffff:198.51.100.1]:1"}[i%2]).post(`{}`, auth, "Bearer s3cret").code
	})
	f("what is refused anyway", nil, func(r *httpRig, i int) int {
		a := r.as("198.51.100.1:1")
		switch i % 6 {
		case 0: // guessing the token
			return a.post(`{}`, auth, fmt.Sprint("Bearer ", i)).code
		case 1:
			a.url = "http://source/elsewhere"
		case 2:
			return a.post(`{`, auth, "Bearer s3cret").code
		case 3:
			return a.post(`{}`, auth, "Bearer s3cret", "Content-Encoding", "br").code
		case 4:
			req, _ := http.NewRequest("DELETE", r.url, nil)
			return a.send(req).code
		}
		return a.post(strings.Repeat(" ", 5<<20), auth, "Bearer s3cret").code
	})
}

// TestHTTPServerOneConnectionIsOneClient: requests side by side on one connection of
// HTTP/2 count like others.
func TestHTTPServerOneConnectionIsOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key, pool := certificate(t)
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.TLS, s.PerClient.MaxConcurrent = &web.ServerTLS{Cert: cert, Key: key}, 7
		})
		one, two := r.speakFrames("198.51.100.1:1", pool, 1<<16), r.speakFrames("198.51.100.1:2", pool, 1<<16)
		for range 30 {
			one.data(one.post("x-forwarded-for", "1.1.1.1"), flagEnd, []byte(`{}`))
			two.data(two.post(), flagEnd, []byte(`{}`))
		}
		synctest.Wait()
		if in, waiting, _ := r.src.gate.load(); in != 7 || waiting != 0 {
			t.Errorf("%d inside, %d waiting of one client, want 7 and none", in, waiting)
		}
		if got := r.src.Rejected()["429"]; got != 53 {
			t.Errorf("%d were refused, want 53", got)
		}
		other := r.speakFrames("198.51.100.2:1", pool, 1<<16)
		other.data(other.post(), flagEnd, []byte(`{}`))
		synctest.Wait()
		if in, _, _ := r.src.gate.load(); in != 8 {
			t.Errorf("%d inside, want 8 with the other client's", in)
		}
		stop := r.run(pipe.Delivered)
		synctest.Wait()
		if one.answers.Load()+two.answers.Load() != 60 || other.answers.Load() != 1 {
			t.Errorf("%d, %d and %d answers, want 60 and 1", one.answers.Load(), two.answers.Load(), other.answers.Load())
		}
		stop()
	})
}
