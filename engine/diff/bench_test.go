package diff_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

// large is a pipeline of n stages between a source and n sinks, with 2n edges.
func large(n, buffer int) string {
	var stages, sinks, edges strings.Builder
	for i := range n {
		fmt.Fprintf(&stages, "  s%d: {type: map, set: {a: 'b + 1', c: upper(d)}, rename: {x: y}, delete: [z]}\n", i)
		fmt.Fprintf(&sinks, "  k%d: {type: http, url: 'http://127.0.0.1:9/%d', headers: {X-Token: abcdef}, batch: {events: 10}}\n", i, i)
		fmt.Fprintf(&edges, "  - {from: in, to: s%d, buffer: %d}\n  - {from: s%d, to: k%d, policy: drop-oldest}\n", i, buffer, i, i)
	}
	return "sources:\n  in: {type: generate}\nstages:\n" + stages.String() + "sinks:\n" + sinks.String() + "edges:\n" + edges.String()
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{10, 500} { // 500: 1,001 nodes and 1,000 edges
		for _, change := range []string{"nothing", "every edge"} {
			old, next := parse(b, large(n, 100)), parse(b, large(n, 100))
			if change != "nothing" {
				next = parse(b, "defaults: {edge: {buffer: {age: 1s}}}\n"+large(n, 200))
			}
			b.Run(fmt.Sprintf("nodes=%d/changed=%s", 2*n+1, change), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					diff.Plan(old, next)
				}
			})
		}
	}
}

func parse(t testing.TB, yaml string) *config.Pipeline {
	t.Helper()
	p, ds := config.Parse([]byte(yaml), config.Options{File: "test.yaml"})
	if ds.HasErrors() {
		t.Fatal(ds.Err())
	}
	return p
}

func BenchmarkCompare(b *testing.B) {
	old, next := parse(b, large(500, 100)), parse(b, large(500, 200))
	for b.Loop() {
		diff.Compare(old, next)
	}
}
