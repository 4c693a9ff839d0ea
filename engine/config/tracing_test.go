package config

import "testing"

func TestTracing(t *testing.T) {
	f := func(tr Tracing, want string) {
		t.Helper()
		got := ""
		if err := tr.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%+v: got %q, want %q", tr, got, want)
		}
	}
	f(Tracing{}, "")
	f(Tracing{Ratio: 0.5, Headers: map[string]string{"X-Key": "k"}}, "") // the endpoint may be left out: ${COLLECTOR:-}
	f(Tracing{Endpoint: "http://127.0.0.1:4318"}, "")
	f(Tracing{Endpoint: "https://otlp.example/otlp/v1/traces", Ratio: 1}, "")
	f(Tracing{Endpoint: "http://[::1]:4318/"}, "")
	f(Tracing{Endpoint: "http://"}, "endpoint: the host is missing")
	f(Tracing{Endpoint: "grpc://127.0.0.1:4317"}, `endpoint: the scheme must be http or https, got "grpc"`)
	f(Tracing{Endpoint: "http://x/#a"}, "endpoint: ? and # are never sent: remove them and what follows")
	f(Tracing{Endpoint: "//x", Headers: map[string]string{"host": "y", "B:": "z"}}, `endpoint: the scheme must be http or https, got ""
headers.B:: "B:" is not the name of a header
headers.host: is set by the exporter`)
}
