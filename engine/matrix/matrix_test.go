package matrix

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// The kinds of a far side.
const (
	fast     = "fast"
	slow     = "slow"     // 4 ms for each request
	flapping = "flapping" // 25 ms well, 25 ms answers 500, and so on
	hanging  = "hanging"  // takes requests and does not answer any in its first 200 ms
	busy     = "busy"     // answers 429 with Retry-After, in seconds or as a date
	down     = "down"     // answers 503 every other time
	reset    = "reset"    // takes half of a body and resets the connection, every other time
	lost     = "lost"     // takes a body, and the connection breaks during or before its answer
	panics   = "panics"   // a sink that panics, before or after it took the events
	half     = "half"     // a sink that takes every other event, and some never
)

var moods = []string{fast, slow, flapping, hanging, busy, down, reset, lost, panics, half}

// repeats reports whether a far side may see an event again although nobody
// sent it twice: it took events whose sender could not know.
func repeats(mood string) bool { return mood == hanging || mood == reset || mood == lost }

var origins = []string{"file", "http_server", "generate"}

// policies, as they are written in a file, by name.
var policies = map[string]string{
	"block":             "block",
	"block-drop-newest": "{type: block, timeout: 5ms, then: drop-newest}",
	"block-drop-oldest": "{type: block, timeout: 5ms, then: drop-oldest}",
	"block-fail":        "{type: block, timeout: 5ms, then: fail}",
	"drop-oldest":       "drop-oldest",
	"drop-newest":       "drop-newest",
	"drop-random":       "drop-random",
	"sample":            "{type: sample, base_rate: 0.95, min_rate: 0.2, threshold: 0.3}",
	"sample-key":        "{type: sample, base_rate: 0.9, min_rate: 0.2, threshold: 0.3, key: n}",
}

// lossless reports whether a policy drops nothing.
func lossless(policy string) bool { return policy == "block" || policy == "block-fail" }

// samples reports whether a policy may drop an event however little there is.
func samples(policy string) bool { return strings.HasPrefix(policy, "sample") }

// place is a place in the matrix.
type place struct{ mood, policy, origin string }

// places returns the whole matrix.
func places() (all []place) {
	for _, m := range moods {
		for _, p := range slices.Sorted(maps.Keys(policies)) {
			for _, o := range origins {
				all = append(all, place{m, p, o})
			}
		}
	}
	return all
}

// choose returns n places: those that bring the most pairs which are not there yet,
// in an order that follows from seed.
func choose(all []place, n int, seed uint64) (chosen []place) {
	r := rand.New(rand.NewPCG(seed, 1))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	seen := map[[2]string]bool{}
	pairs := func(p place) [][2]string {
		return [][2]string{{p.mood, p.policy}, {p.mood, p.origin}, {p.policy, p.origin}}
	}
	for range n {
		best, most := 0, -1
		for i, p := range all {
			fresh := 0
			for _, x := range pairs(p) {
				if !seen[x] {
					fresh++
				}
			}
			if fresh > most {
				best, most = i, fresh
			}
		}
		for _, x := range pairs(all[best]) {
			seen[x] = true
		}
		chosen = append(chosen, all[best])
		all = slices.Delete(all, best, best+1)
	}
	return chosen
}

// TestMatrix runs 60 places of the matrix, all of them five times, each time with
// other details, with PIPECTL_TORTURE=1. PIPECTL_MATRIX_SEED chooses other ones.
func TestMatrix(t *testing.T) {
	seed := uint64(1)
	if s := os.Getenv("PIPECTL_MATRIX_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatalf("PIPECTL_MATRIX_SEED: %v", err)
		}
	}
	rounds, chosen := 1, choose(places(), 60, seed)
	if torture {
		rounds, chosen = 5, places()
	}
	for _, values := range [][]string{moods, slices.Sorted(maps.Keys(policies)), origins} {
		for _, v := range values {
			if !slices.ContainsFunc(chosen, func(p place) bool { return p.mood == v || p.policy == v || p.origin == v }) {
				t.Errorf("%s is in no place that was chosen", v)
			}
		}
	}
	for round := range rounds {
		for i, p := range chosen {
			detail := seed*1_000_000 + uint64(round*1000+i)
			t.Run(fmt.Sprintf("%s/%s/%s/%d", p.mood, p.policy, p.origin, detail), func(t *testing.T) {
				t.Parallel()
				newCell(t, p, detail).run()
			})
		}
	}
}
