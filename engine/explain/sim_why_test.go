package explain

import (
	"fmt"
	"strings"
	"testing"
)

// watch runs a simulation until it is steady and explains what follows.
func watch(s *sim) Report {
	s.run(20)
	a := s.status()
	s.run(20)
	return Why(a, s.status())
}

// topologies: each %s is a node's work, in the order of its names.
var topologies = []struct {
	name  string
	nodes []string
	text  string
}{
	{"chain", []string{"in", "a", "b", "out"}, `
source in take %s
stage a take %s
stage b take %s
sink out take %s as external
in -> a
a -> b
b -> out`},
	{"fan-out", []string{"in", "a", "x", "y", "z"}, `
source in take %s
stage a take %s
sink x take %s as external
sink y take %s as external
sink z take %s as external
in -> a
a -> x
a -> y
a -> z`},
	{"fan-in", []string{"one", "two", "m", "out"}, `
source one take %s
source two take %s
stage m take %s
sink out take %s as external
one -> m
two -> m
m -> out`},
	{"diamond", []string{"in", "a", "l", "r", "m", "out"}, `
source in take %s
stage a take %s
stage l take %s
stage r take %s
stage m take %s
sink out take %s as external
in -> a
a -> l
a -> r
l -> m
r -> m
m -> out`},
	{"route", []string{"in", "a", "x", "y", "out"}, `
source in take %s
stage a take %s route yes
stage x take %s
sink y take %s as external
sink out take %s as external
in -> a
a -> x
a -> y
x -> out`},
}

func fill(text string, takes []string) string {
	for _, v := range takes {
		text = strings.Replace(text, "%s", v, 1)
	}
	return text
}

// TestSimulatedPositions puts the slow node at each place of five topologies.
// The next limit is confirmed by making the change.
func TestSimulatedPositions(t *testing.T) {
	for _, topology := range topologies {
		for slow := range topology.nodes {
			for second := range topology.nodes {
				if slow == second || raced && second != (slow+1)%len(topology.nodes) {
					continue
				}
				takes := make([]string, len(topology.nodes))
				for i := range takes {
					takes[i] = "2ms jitter 0.5"
				}
				takes[second] = "20ms jitter 0.5"
				takes[slow] = "70ms jitter 0.5"
				name := fmt.Sprintf("%s, %s slow, then %s", topology.name, topology.nodes[slow], topology.nodes[second])
				s := newSim(1, fill(topology.text, takes))
				r := watch(s)
				want := topology.nodes[slow]
				if isFree := topology.name == "fan-in" && slow < 2; isFree {
					// One of two sources is slow by itself: it holds back nobody, and what the
					// other one meets is the second slowest.
					want = topology.nodes[second]
				}
				if r.Limiting != want {
					t.Errorf("%s: got %s (%s), want %s\n%s", name, r.Limiting, r.Cause, want, strings.Join(r.Sentences, "\n"))
					continue
				}
				confirm(t, name, topology.text, topology.nodes, takes, s, r)
			}
		}
	}
}

// confirm takes the limit out of the way and compares.
func confirm(t *testing.T, name, text string, nodes, takes []string, s *sim, r Report) {
	t.Helper()
	if r.Next == nil {
		t.Errorf("%s: no next limit", name)
		return
	}
	for i := range takes {
		if nodes[i] == r.Limiting {
			takes[i] = "10us"
		}
	}
	changed := newSim(1, fill(text, takes))
	again := watch(changed)
	got := 0.0
	for _, n := range again.Nodes {
		if n.Kind == "source" && (r.Bottlenecks[0].Form == FormSource && n.Name == r.Limiting || contains(r.Bottlenecks[0].Sources, n.Name)) {
			got += n.Rate
		}
	}
	if again.Limiting != r.Next.Node && share(again, r.Next.Node).Active() < full {
		t.Errorf("%s: next would be %s, but it is %s", name, r.Next.Node, again.Limiting)
	}
	if want := r.Next.SourceRate; !r.Next.AtLeast && (got < want*.85 || got > want*1.15) {
		t.Errorf("%s: next is %s at %.0f/s; got %.0f/s", name, r.Next.Node, want, got)
	}
}

func share(r Report, node string) NodeShare {
	for _, n := range r.Nodes {
		if n.Name == node {
			return n
		}
	}
	return NodeShare{}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
