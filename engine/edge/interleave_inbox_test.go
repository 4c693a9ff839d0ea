package edge

import "testing"

// inboxState is an Inbox of two edges and its workers between two critical
// sections.
type inboxState struct {
	n        [2]int8  // events in each edge
	budget   [2]int8  // still to be sent
	closed   [2]bool  //
	reported [2]state // what the inbox knows
	turn     int8     // who picks, -1 is nobody
	parked   fifo
	w        [3]worker
}

// worker is one call of Inbox.Recv after the other.
type worker struct {
	at     stage
	queued bool // it is in the list of waiters
	woken  bool
	timer  bool    // its time is up
	got    bool    // it picked something
	asks   [2]bool // edges that were ready when it began to pick
}

type stage int8

const (
	asking  stage = iota // is anything ready?
	picking              // takes events, edge by edge
	picked               // has asked all
	asleep
	busy // has events and may keep them for long
	done
)

// inboxCase is one set-up; fault names what is broken on purpose.
type inboxCase struct {
	events  [2]int8
	workers int
	fault   string
}

func (c *inboxCase) ready(s *inboxState) (n int8) {
	for _, r := range s.reported {
		if r == ready {
			n++
		}
	}
	return n
}

func (c *inboxCase) finished(s *inboxState) bool {
	return s.reported == [2]state{finished, finished}
}

func (c *inboxCase) wakeWorker(s *inboxState) {
	if s.parked.n > 0 && c.ready(s) > 0 {
		s.w[s.parked.who[0]].woken = true
	}
}

// report is Edge.report for edge e, within the edge's critical section.
func (c *inboxCase) report(s *inboxState, e int) {
	now := empty
	switch {
	case s.n[e] > 0:
		now = ready
	case s.closed[e]:
		now = finished
	}
	if now == s.reported[e] {
		return
	}
	s.reported[e] = now
	switch {
	case now == ready && c.fault != "does not wake for events":
		c.wakeWorker(s)
	case now == finished && c.finished(s):
		for k, i := range s.parked.who[:s.parked.n] {
			s.w[i].woken = s.w[i].woken || k == 0 || c.fault != "wakes one worker at the end"
		}
	}
}

// ask is the top of Inbox.RecvUntil's loop, with Inbox.mu held.
func (c *inboxCase) ask(s inboxState, i int8) inboxState {
	w := &s.w[i]
	if c.ready(&s) > 0 && !w.got {
		for e := range w.asks {
			w.asks[e] = s.reported[e] == ready
		}
		w.at, s.turn = picking, i
		return s
	}
	return c.after(s, i)
}

// after is the rest of that loop.
func (c *inboxCase) after(s inboxState, i int8) inboxState {
	w := &s.w[i]
	w.at = asking
	if w.got || c.finished(&s) || w.timer {
		got, end := w.got, c.finished(&s) && !w.got
		if w.queued {
			s.parked.del(i)
		}
		*w = worker{}
		switch {
		case end:
			w.at = done
		case got:
			w.at = busy
		}
		if c.fault != "leaves without hand-off" {
			c.wakeWorker(&s)
		}
		return s
	}
	if c.ready(&s) > 0 && c.fault != "parks without looking again" {
		return s
	}
	if !w.queued {
		w.queued = true
		s.parked.add(i)
	}
	w.at = asleep
	return s
}

// pick asks one edge after the other, each in its own critical section, until
// one gave an event.
func (c *inboxCase) pick(s inboxState, i int8) inboxState {
	w := &s.w[i]
	for e := range w.asks {
		if !w.asks[e] {
			continue
		}
		w.asks[e] = false
		if s.n[e] > 0 {
			s.n[e]--
			w.got = true
			if c.fault != "takes without reporting" {
				c.report(&s, e)
			}
		}
		break
	}
	if w.got || w.asks == [2]bool{} {
		w.asks, w.at, s.turn = [2]bool{}, picked, -1
	}
	return s
}

func (c *inboxCase) next(s inboxState) (n steps[inboxState]) {
	for i, w := range s.w {
		i := int8(i)
		switch {
		case w.at == asking && (s.turn < 0 || c.ready(&s) == 0):
			n.must = append(n.must, c.ask(s, i))
		case w.at == picking:
			n.must = append(n.must, c.pick(s, i))
		case w.at == busy:
			t := s
			t.w[i].at = asking
			n.must = append(n.must, t)
		case w.at == picked:
			n.must = append(n.must, c.after(s, i))
		case w.at == asleep:
			t := s
			t.w[i].woken, t.w[i].at = false, asking
			if w.woken {
				n.must = append(n.must, t)
			}
			t.w[i].timer = true
			n.may = append(n.may, t)
		}
	}
	for e := range s.n {
		if !s.closed[e] {
			t := s
			t.closed[e] = true
			c.report(&t, e)
			n.may = append(n.may, t)
			t.n[e] = 0 // drained
			c.report(&t, e)
			n.may = append(n.may, t)
			if s.budget[e] == 0 {
				t = s
				t.closed[e] = true
				c.report(&t, e)
				n.must = append(n.must, t)
			}
		}
		for k := int8(1); k <= s.budget[e] && !s.closed[e]; k++ {
			t := s
			t.n[e] += k
			t.budget[e] -= k
			c.report(&t, e)
			n.must = append(n.must, t)
		}
	}
	return n
}

func (c *inboxCase) check(s inboxState) string {
	awake, sleepers := false, 0
	for _, w := range s.w {
		switch {
		case w.at == asleep && !w.woken:
			sleepers++
		case w.at != busy && w.at != done:
			awake = true
		}
	}
	for e := range s.n {
		if (s.n[e] > 0) != (s.reported[e] == ready) && c.fault != "takes without reporting" {
			return "the inbox does not know whether an edge is ready"
		}
	}
	switch {
	case c.ready(&s) > 0 && sleepers > 0 && !awake:
		return "events, but every worker sleeps"
	case c.finished(&s) && sleepers > 0:
		return "finished, but a worker sleeps"
	}
	return ""
}

func (c *inboxCase) run() (int, string) {
	s := inboxState{budget: c.events, turn: -1}
	for i := range s.w {
		if i >= c.workers {
			s.w[i].at = done
		}
	}
	return explore(s, c.next, c.check, func(s inboxState) bool {
		return s.w[0].at == done && s.w[1].at == done && s.w[2].at == done
	})
}

var inboxCases = []inboxCase{
	{events: [2]int8{2, 2}, workers: 1},
	{events: [2]int8{2, 1}, workers: 2},
	{events: [2]int8{2, 1}, workers: 3},
	{events: [2]int8{0, 3}, workers: 3},
}

// TestEveryInboxInterleaving visits every order of two edges that are sent to,
// closed and drained at any moment, and up to three workers with timers.
func TestEveryInboxInterleaving(t *testing.T) {
	states := 0
	for i, c := range inboxCases {
		if raced && i > 1 {
			break
		}
		n, fault := c.run()
		if fault != "" {
			t.Errorf("%+v: %s", c, fault)
		}
		states += n
	}
	t.Logf("%d states", states)
}

// TestInboxInterleavingFaults proves the check: each of these mistakes must be found.
func TestInboxInterleavingFaults(t *testing.T) {
	for _, fault := range []string{
		"does not wake for events", "wakes one worker at the end", "leaves without hand-off",
		"parks without looking again", "takes without reporting",
	} {
		found := ""
		for _, c := range inboxCases {
			c.fault = fault
			if _, found = c.run(); found != "" {
				break
			}
		}
		t.Logf("%-36s %s", fault, found)
		if found == "" {
			t.Errorf("an inbox that %s passes", fault)
		}
	}
}
