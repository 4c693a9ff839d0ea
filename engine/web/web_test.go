package web

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := func(value string, want time.Duration) {
		t.Helper()
		h := http.Header{"Retry-After": {value}}
		if got := RetryAfter(h, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
	f("", 0)
	f("0", 0)
	f("7", 7*time.Second)
	f(" 7 ", 7*time.Second)
	f("-7", 0)
	f("1.5", 0)
	f("soon", 0)
	f("99999999999999999999999", 1<<31*time.Second)
	f("Sun, 01 Mar 2026 12:00:30 GMT", 30*time.Second)
	f("Sunday, 01-Mar-26 12:00:30 GMT", 30*time.Second)
	f("Sun Mar  1 12:00:30 2026", 30*time.Second)
	f("Sun, 01 Mar 2026 11:59:00 GMT", 0) // past
	f("Sun, 01 Mar 2026 25:00:00 GMT", 0)
}
