package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func ex(t testing.TB, text string) (v expr.Value) {
	t.Helper()
	if err := v.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return v
}

// named makes names with expressions of alternating texts.
func named(t testing.TB, texts ...string) (m pipe.OrderedMap[expr.Value]) {
	t.Helper()
	for i := 0; i < len(texts); i += 2 {
		m = append(m, pipe.Pair[expr.Value]{Key: texts[i], Value: ex(t, texts[i+1])})
	}
	return m
}

// said answers with a status and a body.
func said(code int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// failures maps a result of Write to the class of each failed event.
func failures(t testing.TB, err error) map[int]pipe.Class {
	t.Helper()
	var part *pipe.PartialError
	if err == nil {
		return nil
	}
	if !errors.As(err, &part) {
		t.Fatalf("got %v, want a partial failure", err)
	}
	got := map[int]pipe.Class{}
	for _, it := range part.Items {
		got[it.Index] = pipe.ClassOf(it.Err, "")
	}
	return got
}

// service is a far side that answers as its protocol wants it.
type service struct {
	new   func(t *testing.T, f *far) pipe.Sink
	good  func(w http.ResponseWriter, body string) // confirms
	lines func(body string) []string               // the events in a request
}

// conformance runs the suite for a sink that speaks HTTP.
func (c service) conformance(t *testing.T) {
	t.Helper()
	type kept struct {
		*far
		mu    sync.Mutex
		lines []string
	}
	sides := map[pipe.Sink]*kept{}
	take := func(k *kept) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			k.far.mu.Lock()
			body := k.read[r]
			delete(k.read, r)
			k.far.mu.Unlock()
			k.mu.Lock()
			k.lines = append(k.lines, c.lines(body)...)
			k.mu.Unlock()
			c.good(w, body)
		}
	}
	pipetest.Sink(t, pipetest.SinkCase{
		New: func(t *testing.T) pipe.Sink {
			k := &kept{far: newFar(t, (*httptest.Server).Start)}
			s := c.new(t, k.far)
			k.read = map[*http.Request]string{}
			k.set(take(k))
			sides[s] = k
			return s
		},
		Written: func(_ *testing.T, s pipe.Sink) []string {
			k := sides[s]
			k.mu.Lock()
			defer k.mu.Unlock()
			return slices.Clone(k.lines)
		},
		Hang: func(_ *testing.T, s pipe.Sink) func() {
			k, hang := sides[s], make(chan struct{})
			k.far.mu.Lock()
			k.hang = hang
			k.far.mu.Unlock()
			return sync.OnceFunc(func() {
				k.far.mu.Lock()
				k.hang = nil
				k.far.mu.Unlock()
				close(hang)
			})
		},
		Break: func(_ *testing.T, s pipe.Sink) func() {
			k := sides[s]
			k.set(status(500, "", ""))
			return func() { k.set(take(k)) }
		},
		TakesBack: true,
	})
}

// TestDeliver checks that a refused batch ends with exactly the events at fault
// failed, whether the server names them or not, rightly or not.
func TestDeliver(t *testing.T) {
	f := func(n int, bad string, hint func(at int) int, requests int) {
		t.Helper()
		lines := strings.Split(strings.Repeat("x", n), "")
		isBad := map[int]bool{}
		for _, at := range strings.Fields(bad) {
			var i int
			fmt.Sscan(at, &i)
			isBad[i], lines[i] = true, "bad"
		}
		in := batch(t, lines...)
		taken, sent := 0, 0
		err := deliver(t.Context(), in, func(_ context.Context, in []*pipe.Event) ([]pipe.ItemError, error) {
			sent++
			for i, e := range in {
				if e.Body.Field("message").EqualString("bad") {
					return nil, &refused{errors.New("no"), hint(i)}
				}
			}
			taken += len(in)
			return nil, nil
		})
		got := map[int]pipe.Class{}
		if err != nil {
			got = failures(t, err)
		}
		for i := range n {
			if (got[i] != "") != isBad[i] || isBad[i] && got[i] != pipe.Poison {
				t.Errorf("%d events, bad %q: event %d has class %q", n, bad, i, got[i])
			}
		}
		if taken != n-len(isBad) || sent > requests {
			t.Errorf("%d events, bad %q: %d taken with %d requests, want at most %d", n, bad, taken, sent, requests)
		}
	}
	silent := func(int) int { return -1 }
	exact := func(at int) int { return at }
	f(10, "", silent, 1)
	f(1, "0", silent, 1)
	f(10, "3", silent, 9)
	f(1000, "999", silent, 21)
	f(64, "0 1 31 63", silent, 45)
	f(10, "0 1 2 3 4 5 6 7 8 9", silent, 19)
	f(10, "3 7", exact, 5)
	f(10, "3 7", func(at int) int { return at + 1 }, 40)
	f(10, "3 7", func(int) int { return 99 }, 20)
}

func TestDeliverGivesUpOnAllThatIsBad(t *testing.T) {
	in := batch(t, strings.Split(strings.Repeat("x", 1000), "")...)
	sent := 0
	err := deliver(t.Context(), in, func(context.Context, []*pipe.Event) ([]pipe.ItemError, error) {
		sent++
		return nil, &refused{pipe.Classed(pipe.Permanent, errors.New("no")), -1}
	})
	if got := failures(t, err); len(got) != 1000 || sent > 2*maxRefusals+2 {
		t.Errorf("%d failed after %d requests", len(got), sent)
	}
}

func TestDeliverStopsWhenTheFarSideFails(t *testing.T) {
	in := batch(t, "a", "bad", "c", "d", "odd")
	sent := 0
	err := deliver(t.Context(), in, func(_ context.Context, in []*pipe.Event) (bad []pipe.ItemError, err error) {
		sent++
		if sent > 2 {
			return nil, pipe.Classed(pipe.Throttled, errors.New("slower"))
		}
		for i, e := range in {
			switch e.Body.Field("message").String() {
			case "odd":
				bad = append(bad, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, errors.New("odd"))})
			case "bad":
				err = &refused{errors.New("no"), -1}
			}
		}
		return bad, err
	})
	got := failures(t, err)
	want := map[int]pipe.Class{0: pipe.Throttled, 1: pipe.Throttled, 2: pipe.Throttled, 3: pipe.Throttled, 4: pipe.Poison}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	err = deliver(t.Context(), in, func(context.Context, []*pipe.Event) ([]pipe.ItemError, error) {
		return nil, &pipe.Error{Class: pipe.Throttled, Err: errors.New("all"), RetryAfter: 7}
	})
	var e *pipe.Error
	if errors.As(err, new(*pipe.PartialError)) || !errors.As(err, &e) || e.RetryAfter != 7 {
		t.Errorf("got %v, want the error of the whole batch", err)
	}
}
