package explain

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/pipectl/pipectl/engine"
)

// sim is a queueing simulator in virtual time: nodes with workers that take a
// time for each event, and bounded edges between them. It counts what the
// engine counts and shows it as an engine.Status. Unlike the engine it handles
// events one by one.
type sim struct {
	now   float64
	rng   *rand.Rand
	nodes map[string]*simNode
	edges map[string]*simEdge
	order []string // of nodes
	links []string // of edges
	due   simHeap
}

type simNode struct {
	name, kind string
	workers    []*simWorker
	take       float64 // seconds of work for one event
	jitter     float64 // the work takes take × (1 ± jitter)
	as         string  // what the work counts as: busy, external, throttled
	keep       float64 // part of the events that go on, 1 by default
	route      bool    // an event goes to one of the outputs instead of to all
	every      float64 // sources: seconds between two events at least
	pace       string  // what a source's waiting for that counts as: idle or throttled
	window     int     // sources: most unsettled events

	in, out   []*simEdge
	turn      int // of in
	next      float64
	open      int
	count     int64
	passed    int64
	time      engine.NodeTime
	forCredit float64
}

type simWorker struct {
	node  *simNode
	state string // idle, busy, external, throttled, blocked, credit
	since float64
	todo  []*simEdge
	event *origin
}

type simEdge struct {
	id, policy         string
	from, to           *simNode
	capacity           int
	queue              []*origin
	waiting            []*simWorker
	pressed, since     float64
	offered, delivered int64
	dropped            map[string]int64
}

// origin is an event of a source and how many copies of it are open.
type origin struct {
	source *simNode
	open   int
}

type simEvent struct {
	at  float64
	seq int
	do  func()
}

type simHeap struct {
	list []simEvent
	seq  int
}

func (h *simHeap) Len() int { return len(h.list) }
func (h *simHeap) Less(i, j int) bool {
	a, b := h.list[i], h.list[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (h *simHeap) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *simHeap) Push(x any)    { h.list = append(h.list, x.(simEvent)) }
func (h *simHeap) Pop() any {
	e := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return e
}

func (s *sim) after(d float64, do func()) {
	s.due.seq++
	heap.Push(&s.due, simEvent{s.now + d, s.due.seq, do})
}

// newSim makes a simulator from lines such as
//
//	source in take 1ms window 10
//	stage a take 2ms workers 2 as throttled keep 0.5
//	sink out take 5ms as external
//	in -> a 64 block
func newSim(seed uint64, text string) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), nodes: map[string]*simNode{}, edges: map[string]*simEdge{}}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		w := strings.Fields(line)
		if len(w) > 2 && w[1] == "->" {
			s.edge(w)
		} else {
			s.node(w)
		}
	}
	return s
}

func (s *sim) node(w []string) {
	n := &simNode{kind: w[0], name: w[1], as: "busy", keep: 1, pace: "throttled"}
	workers := 1
	for i := 2; i+1 < len(w); i += 2 {
		switch v := w[i+1]; w[i] {
		case "take":
			n.take = parse(v)
		case "jitter":
			n.jitter = parse(v)
		case "every":
			n.every = parse(v)
		case "keep":
			n.keep = parse(v)
		case "window":
			n.window = int(parse(v))
		case "workers":
			workers = int(parse(v))
		case "as":
			n.as = v
		case "pace":
			n.pace = v
		case "route":
			n.route = true
		default:
			panic("what is " + w[i])
		}
	}
	for range workers {
		n.workers = append(n.workers, &simWorker{node: n, state: "idle"})
	}
	s.nodes[n.name] = n
	s.order = append(s.order, n.name)
}

func parse(v string) float64 {
	unit := 1.0
	if n, ok := strings.CutSuffix(v, "ms"); ok {
		v, unit = n, 1e-3
	} else if n, ok := strings.CutSuffix(v, "us"); ok {
		v, unit = n, 1e-6
	}
	f := 0.0
	if _, err := fmt.Sscan(v, &f); err != nil {
		panic(v)
	}
	return f * unit
}

func (s *sim) edge(w []string) {
	e := &simEdge{id: w[0] + "->" + w[2], from: s.nodes[w[0]], to: s.nodes[w[2]], capacity: 64, policy: "block", dropped: map[string]int64{}}
	if len(w) > 3 {
		e.capacity = int(parse(w[3]))
	}
	if len(w) > 4 {
		e.policy = w[4]
	}
	e.from.out, e.to.in = append(e.from.out, e), append(e.to.in, e)
	s.edges[e.id] = e
	s.links = append(s.links, e.id)
}

// run goes on for so many seconds.
func (s *sim) run(seconds float64) *sim {
	if s.now == 0 {
		for _, name := range s.order {
			if n := s.nodes[name]; n.kind == "source" {
				s.read(n.workers[0])
			}
		}
	}
	for end := s.now + seconds; ; {
		if s.due.Len() == 0 || s.due.list[0].at > end {
			s.now = end
			return s
		}
		e := heap.Pop(&s.due).(simEvent)
		s.now = e.at
		e.do()
	}
}

func (w *simWorker) enter(s *sim, state string) {
	d, t := s.now-w.since, &w.node.time
	switch w.state {
	case "busy":
		t.Busy += d
	case "external":
		t.External += d
	case "throttled":
		t.Throttled += d
	case "blocked":
		t.Blocked += d
	case "credit":
		t.Blocked += d
		w.node.forCredit += d
	default:
		t.Idle += d
	}
	w.state, w.since = state, s.now
}

// read lets a source make its next event.
func (s *sim) read(w *simWorker) {
	n := w.node
	if n.window > 0 && n.open >= n.window {
		w.enter(s, "credit")
		return
	}
	if n.next > s.now {
		w.enter(s, n.pace)
		s.after(n.next-s.now, func() { s.read(w) })
		return
	}
	n.next = max(n.next, s.now-n.every) + n.every
	w.enter(s, n.as)
	s.after(s.work(n), func() {
		n.open++
		n.count++
		s.finish(w, &origin{n, 1})
	})
}

func (s *sim) work(n *simNode) float64 {
	return max(1e-6, n.take*(1+n.jitter*(2*s.rng.Float64()-1)))
}

// start lets a worker take an event from its edges, in turns.
func (s *sim) start(w *simWorker) {
	n := w.node
	for i := range n.in {
		e := n.in[(n.turn+i)%len(n.in)]
		if len(e.queue) == 0 {
			continue
		}
		n.turn += i + 1
		o := e.queue[0]
		e.queue = e.queue[1:]
		e.delivered++
		n.count++
		w.enter(s, n.as)
		w.event = o
		s.after(s.work(n), func() { s.finish(w, o) })
		if len(e.waiting) > 0 {
			p := e.waiting[0]
			e.leave(s)
			s.send(p)
		}
		return
	}
	w.enter(s, "idle")
}

func (e *simEdge) leave(s *sim) {
	if e.waiting = e.waiting[1:]; len(e.waiting) == 0 {
		e.pressed += s.now - e.since
	}
}

// finish hands on an event that a worker is done with.
func (s *sim) finish(w *simWorker, o *origin) {
	n := w.node
	w.event, w.todo = o, nil
	switch {
	case n.kind == "sink" || s.rng.Float64() >= n.keep:
		s.settle(o)
	case n.route:
		w.todo = []*simEdge{n.out[s.rng.IntN(len(n.out))]}
	default:
		o.open += len(n.out) - 1
		for _, e := range n.out {
			if !s.offer(e, o) {
				w.todo = append(w.todo, e)
			}
		}
	}
	if n.kind != "sink" {
		n.passed++
	}
	s.send(w)
}

// send puts a worker's event where it has still to go, and waits there.
func (s *sim) send(w *simWorker) {
	for len(w.todo) > 0 {
		e := w.todo[0]
		if !s.offer(e, w.event) {
			if len(e.waiting) == 0 {
				e.since = s.now
			}
			e.waiting = append(e.waiting, w)
			w.enter(s, "blocked")
			return
		}
		w.todo = w.todo[1:]
	}
	if w.node.kind == "source" {
		s.read(w)
	} else {
		s.start(w)
	}
}

// offer is false when the event has to wait.
func (s *sim) offer(e *simEdge, o *origin) bool {
	if len(e.queue) >= e.capacity && e.policy == "block" {
		return false
	}
	e.offered++
	switch {
	case len(e.queue) < e.capacity:
		e.queue = append(e.queue, o)
	case e.policy == "drop-newest":
		e.dropped["newest"]++
		s.settle(o)
	default:
		e.dropped["oldest"]++
		s.settle(e.queue[0])
		e.queue = append(e.queue[1:], o)
	}
	for _, w := range e.to.workers {
		if w.state == "idle" {
			s.start(w)
			break
		}
	}
	return true
}

func (s *sim) settle(o *origin) {
	if o.open--; o.open > 0 {
		return
	}
	n := o.source
	n.open--
	if w := n.workers[0]; w.state == "credit" && n.open < n.window {
		s.read(w)
	}
}
