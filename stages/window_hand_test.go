package stages

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// However the events are mixed within the allowed lateness, the results are those
// of counting by hand, none is late, and each is given once.
func TestWindowByHand(t *testing.T) {
	type event struct{ t, k, v int }
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 9))
		slide := 1 + r.IntN(10)
		size := slide * (1 + r.IntN(4))
		lateness := r.IntN(30)
		events := make([]event, 1+r.IntN(200))
		for i := range events {
			events[i] = event{r.IntN(300) - 50, r.IntN(4), r.IntN(100)}
		}
		// By time plus a random part of the lateness: nobody is later than that.
		due := map[int]int{}
		slices.SortFunc(events, func(a, b event) int { return a.t - b.t })
		for i := range events {
			due[i] = events[i].t + r.IntN(lateness+1)
		}
		order := r.Perm(len(events))
		slices.SortStableFunc(order, func(a, b int) int { return due[a] - due[b] })
		var in []string
		for _, i := range order {
			in = append(in, fmt.Sprintf(`{"t":%d,"k":%d,"v":%d}`, events[i].t, events[i].k, events[i].v))
		}
		in = append(in, `{"t":100000,"k":-1,"v":0}`) // all others are over

		want := map[string][4]int{} // count, sum, min, max
		for _, e := range events {
			for start := int(floorTo(int64(e.t), int64(slide))); start > e.t-size; start -= slide {
				id := fmt.Sprintf("%d/%d", start, e.k)
				w, ok := want[id]
				if !ok {
					w = [4]int{0, 0, e.v, e.v}
				}
				want[id] = [4]int{w[0] + 1, w[1] + e.v, min(w[2], e.v), max(w[3], e.v)}
			}
		}
		out := pipe.NewOut(2)
		w := openWindows(t, func(w *Window) {
			w.Size, w.Slide, w.AllowedLateness = pipe.Duration(size)*1e9, pipe.Duration(slide)*1e9, pipe.Duration(lateness)*1e9
			w.By, w.Compute = sets(t, "k", "k"), figures(t, "n count", "sum sum v", "min min v", "max max v")
			w.Settle = []string{"result", "arrival"}[r.IntN(2)]
		})
		if err := w.Process(t.Context(), readNow(t, 1, in...), out); err != nil {
			t.Fatal(err)
		}
		if n := len(out.Port(latePort)); n > 0 {
			t.Fatalf("seed %d: %d events are late", seed, n)
		}
		last := time.Time{}
		for _, e := range out.Port(0) {
			var got struct {
				Start               time.Time `json:"window_start"`
				K, N, Sum, Min, Max int
			}
			if err := json.Unmarshal(e.Body.AppendJSON(nil), &got); err != nil {
				t.Fatal(err)
			}
			id := fmt.Sprintf("%d/%d", got.Start.Unix(), got.K)
			if want[id] != [4]int{got.N, got.Sum, got.Min, got.Max} || got.Start.Before(last) {
				t.Fatalf("seed %d: window %s is %+v, want %v", seed, id, got, want[id])
			}
			last = got.Start
			delete(want, id)
		}
		if len(want) > 0 {
			t.Fatalf("seed %d: there are no results for %v", seed, want)
		}
	}
}
