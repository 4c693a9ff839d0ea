package edge

import "testing"

// This file checks the wait and wake protocol of an Edge in every order in which
// its critical sections can run: a model of goroutines that take one critical
// section at a time, explored exhaustively. The model of an Inbox is in
// interleave_inbox_test.go.

// fifo is a list of at most three goroutines.
type fifo struct {
	who [3]int8
	n   int8
}

func (f *fifo) add(i int8) { f.who[f.n] = i; f.n++ }

func (f *fifo) del(i int8) {
	kept := fifo{}
	for _, j := range f.who[:f.n] {
		if j != i {
			kept.add(j)
		}
	}
	*f = kept
}

type place int8

const (
	running place = iota // about to call
	parked
	gone
)

type sender struct {
	at    place
	woken bool
	left  int8 // events still to hand over
}

type receiver struct {
	at    place
	woken bool
}

// edgeState is an edge and its goroutines between two critical sections.
type edgeState struct {
	n, cap                            int8
	closed, tripped, strict, reloaded bool
	producers, receivers              fifo
	s                                 [3]sender
	r                                 [3]receiver
}

// edgeCase is one set-up; fault names what is broken on purpose.
type edgeCase struct {
	senders   []int8 // batch sizes
	receivers int
	cap, then int8 // bound before and after the reload
	timeout   bool // Block with a timeout, then drop-newest
	dropping  bool // the reload changes to drop-newest
	fault     string
}

func (c *edgeCase) block(s *edgeState) bool { return !(s.reloaded && c.dropping) }

func (c *edgeCase) wakeReceiver(s *edgeState) {
	switch {
	case s.receivers.n == 0:
	case s.n > 0:
		s.r[s.receivers.who[0]].woken = true
	case s.closed && c.fault != "wakes receivers only for events":
		for _, i := range s.receivers.who[:s.receivers.n] {
			s.r[i].woken = true
		}
	}
}

func (c *edgeCase) wakeProducer(s *edgeState) {
	if s.producers.n > 0 && (s.n < s.cap || s.closed) {
		s.s[s.producers.who[0]].woken = true
	}
}

// newHead may end the time of strict order, or not.
func (c *edgeCase) newHead(s edgeState) []edgeState {
	c.wakeProducer(&s)
	if c.fault == "stays strict" {
		return []edgeState{s}
	}
	s.strict = false
	if s.producers.n == 0 || !c.block(&s) {
		return []edgeState{s}
	}
	strict := s
	strict.strict = true
	return []edgeState{s, strict}
}

// decide is Edge.decide for sender i: admits what fits and drops what is dropped.
func (c *edgeCase) decide(s *edgeState, i int8, most int8, late bool) {
	w := &s.s[i]
	k := max(0, min(w.left, most, s.cap-s.n))
	if c.fault == "ignores the bound" {
		k = min(w.left, most)
	}
	s.n += k
	w.left -= k
	if k > 0 {
		s.tripped, late = false, false
	}
	switch {
	case w.left == 0 || most == k:
	case !c.block(s):
		w.left = 0
	case late || k == 0 && s.tripped && w.at == running:
		s.tripped, w.left = true, 0
	}
	if c.fault != "sends without waking" {
		c.wakeReceiver(s)
	}
}

func (c *edgeCase) send(s edgeState, i int8) edgeState {
	w := &s.s[i]
	switch {
	case s.closed:
		w.at = gone
	case s.strict && c.block(&s) && !s.tripped:
		w.at = parked
		s.producers.add(i)
	default:
		c.decide(&s, i, 9, false)
		w.at = gone
		if w.left > 0 {
			w.at = parked
			s.producers.add(i)
		}
	}
	return s
}

func (c *edgeCase) leave(s edgeState, i int8) []edgeState {
	s.s[i].at, s.s[i].woken = gone, false
	s.producers.del(i)
	if c.fault == "leaves without hand-off" {
		return []edgeState{s}
	}
	return c.newHead(s)
}

// rouse is a parked producer that was woken, or whose time is up. The head may
// find that it was overtaken for too long, or not.
func (c *edgeCase) rouse(s edgeState, i int8, late bool) []edgeState {
	s.s[i].woken = false
	if s.closed {
		return c.leave(s, i)
	}
	all := c.turn(s, i, late)
	if s.producers.who[0] == i && c.block(&s) && !s.strict {
		s.strict = true
		all = append(all, c.turn(s, i, late)...)
	}
	return all
}

func (c *edgeCase) turn(s edgeState, i int8, late bool) []edgeState {
	w := &s.s[i]
	head := s.producers.who[0] == i
	most := int8(9)
	if s.strict && c.block(&s) && !late {
		if !head {
			return []edgeState{s}
		}
		for _, j := range s.producers.who[:s.producers.n] {
			most = min(most, s.s[j].left)
		}
	}
	before := w.left
	c.decide(&s, i, most, late)
	switch {
	case w.left == 0:
		return c.leave(s, i)
	case w.left < before:
		s.producers.del(i)
		s.producers.add(i)
		if c.fault == "rotates without waking" {
			return []edgeState{s}
		}
		return c.newHead(s)
	}
	return []edgeState{s}
}

func (c *edgeCase) take(s *edgeState) {
	s.n -= min(2, s.n)
	if c.fault != "receives without waking producers" {
		c.wakeProducer(s)
	}
}

func (c *edgeCase) recv(s edgeState, i int8) edgeState {
	switch {
	case s.n > 0:
		c.take(&s)
	case s.closed:
		s.r[i].at = gone
	default:
		s.r[i].at = parked
		s.receivers.add(i)
	}
	return s
}

// rise is a parked receiver that was woken, or whose time is up: it then calls
// again, as a worker that had to flush does.
func (c *edgeCase) rise(s edgeState, i int8, timer bool) edgeState {
	w := &s.r[i]
	w.woken = false
	switch {
	case s.n > 0:
		c.take(&s)
		w.at = running
	case s.closed:
		w.at = gone
	case timer:
		w.at = running
	default:
		return s
	}
	w.woken = false
	s.receivers.del(i)
	if c.fault != "receiver leaves without hand-off" {
		c.wakeReceiver(&s)
	}
	return s
}

func (c *edgeCase) close(s edgeState) edgeState {
	s.closed = true
	if c.fault != "closes without waking" {
		for _, i := range s.producers.who[:s.producers.n] {
			s.s[i].woken = true
		}
	}
	c.wakeReceiver(&s)
	return s
}

func (c *edgeCase) reload(s edgeState) edgeState {
	s.reloaded, s.cap, s.tripped = true, c.then, false
	for k, i := range s.producers.who[:s.producers.n] {
		if c.fault != "applies without waking" && (k == 0 || c.fault != "applies waking one producer") {
			s.s[i].woken = true
		}
	}
	return s
}

func (c *edgeCase) next(s edgeState) (n steps[edgeState]) {
	sending := false
	for i, w := range s.s {
		i := int8(i)
		sending = sending || w.at != gone
		switch {
		case w.at == running:
			n.must = append(n.must, c.send(s, i))
		case w.at == parked:
			if w.woken {
				n.must = append(n.must, c.rouse(s, i, false)...)
			}
			if c.timeout && c.block(&s) {
				n.may = append(n.may, c.rouse(s, i, true)...)
			}
			n.may = append(n.may, c.leave(s, i)...) // cancelled
		}
	}
	for i, w := range s.r {
		i := int8(i)
		switch {
		case w.at == running:
			n.must = append(n.must, c.recv(s, i))
		case w.at == parked:
			if w.woken {
				n.must = append(n.must, c.rise(s, i, false))
			}
			n.may = append(n.may, c.rise(s, i, true))
		}
	}
	if !s.closed {
		if closed := c.close(s); sending {
			n.may = append(n.may, closed)
		} else {
			n.must = append(n.must, closed)
		}
		drained := s
		drained.n = 0
		n.may = append(n.may, c.close(drained))
	}
	if !s.reloaded {
		n.may = append(n.may, c.reload(s))
	}
	return n
}

func (c *edgeCase) check(s edgeState) string {
	switch {
	case s.n > max(c.cap, c.then):
		return "more events than the bound"
	case s.producers.n > 0 && (s.n < s.cap || s.closed) && !s.s[s.producers.who[0]].woken:
		return "room, but the first producer sleeps"
	case s.receivers.n > 0 && s.n > 0 && !s.r[s.receivers.who[0]].woken:
		return "events, but the first receiver sleeps"
	case !c.block(&s) && c.sleeper(&s):
		return "a producer sleeps under a policy that never waits"
	case s.strict && s.producers.n == 0:
		return "strict without a producer"
	}
	return ""
}

func (c *edgeCase) sleeper(s *edgeState) bool {
	for _, i := range s.producers.who[:s.producers.n] {
		if !s.s[i].woken {
			return true
		}
	}
	return false
}

func (c *edgeCase) run() (int, string) {
	s := edgeState{cap: c.cap}
	for i := range s.s {
		s.s[i].at, s.r[i].at = gone, gone
	}
	for i, left := range c.senders {
		s.s[i] = sender{left: left}
	}
	for i := range c.receivers {
		s.r[i] = receiver{}
	}
	return explore(s, c.next, c.check, func(s edgeState) bool {
		for i := range s.s {
			if s.s[i].at != gone || s.r[i].at != gone {
				return false
			}
		}
		return true
	})
}

var edgeCases = []edgeCase{
	{senders: []int8{3, 2}, receivers: 1, cap: 1, then: 2},
	{senders: []int8{3, 2}, receivers: 2, cap: 2, then: 1, timeout: true},
	{senders: []int8{2, 3, 1}, receivers: 1, cap: 2, then: 1},
	{senders: []int8{3, 3}, receivers: 3, cap: 2, then: 1, dropping: true},
	{senders: []int8{2, 2, 2}, receivers: 2, cap: 2, then: 1, timeout: true},
	{senders: []int8{3, 2, 2}, receivers: 2, cap: 1, then: 3},
	{senders: []int8{3, 3, 3}, receivers: 1, cap: 2, then: 3, timeout: true, dropping: true},
	{senders: []int8{3, 1, 2}, receivers: 3, cap: 3, then: 2, timeout: true},
}

// TestEveryInterleaving visits every order of up to three producers, three
// receivers, a reload, a close, a drain, cancelled contexts and timers.
func TestEveryInterleaving(t *testing.T) {
	states := 0
	for i, c := range edgeCases {
		if raced && i > 2 {
			break
		}
		n, fault := c.run()
		if fault != "" {
			t.Errorf("%+v: %s", c, fault)
		}
		states += n
	}
	t.Logf("%d states", states)
	if states < 100_000 && !raced {
		t.Errorf("visited only %d states", states)
	}
}

// TestInterleavingFaults proves the check: each of these mistakes must be found.
func TestInterleavingFaults(t *testing.T) {
	for _, fault := range []string{
		"wakes receivers only for events", "stays strict", "ignores the bound", "sends without waking",
		"leaves without hand-off", "rotates without waking", "receives without waking producers",
		"receiver leaves without hand-off", "closes without waking",
		"applies without waking", "applies waking one producer",
	} {
		found := ""
		for _, c := range edgeCases {
			c.fault = fault
			if _, found = c.run(); found != "" {
				break
			}
		}
		t.Logf("%-36s %s", fault, found)
		if found == "" {
			t.Errorf("an edge that %s passes", fault)
		}
	}
}
