package engine

import "sync"

// crew is the writers of a sink. Their number follows the limit of the guard: one
// that is too many leaves when its write is over, and is taken again when more
// are wanted.
type crew struct {
	mu      sync.Mutex // guards what follows
	running int
	resting []*writer // have left and may come back
	over    bool      // nothing will come any more
}

// run is the first writer.
func (s *sinkNode) run() {
	w := s.newWriter()
	s.crew.mu.Lock()
	s.crew.running = 1
	s.crew.mu.Unlock()
	w.run()
}

func (s *sinkNode) newWriter() *writer {
	w := &writer{sinkNode: s, hand: &hand{}}
	s.addHand(w.hand)
	return w
}

// muster is called by a writer between two writes: it calls another one if more
// are wanted, and reports false if the caller is one too many and has to go.
func (w *writer) muster(limit int) bool {
	c := &w.crew
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running > max(1, limit) {
		c.running--
		w.surplus = true
		return false
	}
	if c.running < limit && !c.over {
		w.call()
	}
	return true
}

// call starts a writer, which calls the next one itself. It is called with the
// lock held.
func (s *sinkNode) call() {
	var w *writer
	if last := len(s.crew.resting) - 1; last >= 0 {
		w, s.crew.resting = s.crew.resting[last], s.crew.resting[:last]
	} else {
		w = s.newWriter()
	}
	s.crew.running++
	s.done.Add(1)
	go w.run()
}

// dismiss lets the writer go. The last one out closes the sink's ports.
func (w *writer) dismiss() {
	c := &w.crew
	c.mu.Lock()
	if !w.surplus {
		c.running--
	}
	last := c.running == 0
	w.sinkJob, w.surplus = nil, false
	if w.hand.give() { // one that was given up does not come back
		c.resting = append(c.resting, w)
	}
	c.mu.Unlock()
	if last {
		w.closeOutputs()
	}
}

// finish notes that nothing will come any more.
func (c *crew) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
}

// writers returns how many there are.
func (s *sinkNode) writers() int {
	s.crew.mu.Lock()
	defer s.crew.mu.Unlock()
	return max(1, s.crew.running)
}

// enterDoor waits until no other writer collects, which is idle time: two that fill
// batches side by side would make two small ones. It is false when work is
// stopped first.
func (w *writer) enterDoor() bool {
	select {
	case w.door <- struct{}{}:
		return true
	default:
	}
	defer w.meter.Idle.Leave(w.meter.Idle.Enter())
	select {
	case w.door <- struct{}{}:
		return true
	case <-w.working.Done():
		return false
	}
}

// leaveDoor lets the next writer collect.
func (w *writer) leaveDoor() { <-w.door }
