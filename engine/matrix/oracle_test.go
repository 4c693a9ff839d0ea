package matrix

import (
	"slices"

	"github.com/pipectl/pipectl/engine"
)

// checkNow checks what must hold at every moment: the books and the bounds.
func (c *cell) checkNow(s engine.Status) {
	if b := s.Balance; b.InFlight < 0 || b.Error != 0 {
		c.t.Errorf("while it runs: %+v", b)
	}
	for id, e := range s.Edges {
		if e.Queued > e.Capacity || e.QueuedBytes > e.CapacityBytes {
			c.t.Errorf("edge %s holds %d events and %d bytes, its bounds are %d and %d", id, e.Queued, e.QueuedBytes, e.Capacity, e.CapacityBytes)
		}
	}
}

// answered is called when a client was told that its events are safe: each is
// where it belongs, unless a policy dropped it, which is checked at the end.
func (c *cell) answered(first, end int) {
	for n := first; n < end; n++ {
		if (lossless(c.policy) || c.nack) && !filtered(n) && !c.journal.has(n) {
			c.t.Errorf("event %d was acknowledged and is nowhere: %s", n, c)
		}
	}
}

// checkRun checks a run that is over.
func (c *cell) checkRun(r engine.Receipt, run int) {
	t, b := c.t, r.Balance
	c.dropped += b.Dropped
	if sum := b.Delivered + b.DeadLettered + b.Filtered + b.Merged + b.Dropped + b.Failed + b.Returned; b.Read+b.Created != sum || b.Error != 0 || b.InFlight != 0 {
		t.Errorf("run %d: the books do not balance: %+v", run, b)
	}
	for id, e := range r.Edges {
		if err := e.Stats.Balance(); err != nil {
			t.Errorf("run %d: %v", run, err)
		}
		if e.Peak > edgeEvents {
			t.Errorf("run %d: edge %s held %d events, its bound is %d", run, id, e.Peak, edgeEvents)
		}
	}
	in := r.Sources["in"]
	if in.Read != in.Acked+in.Nacked+in.Returned+in.Lost || in.Read != b.Read {
		t.Errorf("run %d: source: %+v does not add up", run, in)
	}
	if lossless(c.policy) && b.Dropped != 0 {
		t.Errorf("run %d: %d events were dropped", run, b.Dropped)
	}
	if b.Failed != 0 {
		t.Errorf("run %d: %d events failed although there is a place for dead letters", run, b.Failed)
	}
	if r.Outcome == engine.Drained && b.Returned != 0 {
		t.Errorf("run %d: drained, and %d events returned", run, b.Returned)
	}
	c.checkArrived(r, run)
	c.checkOrder(run)
	c.checkMark(in.Read, in.Acked, run)
}

// checkArrived compares what the far side counted with the receipt.
func (c *cell) checkArrived(r engine.Receipt, run int) {
	t, b := c.t, r.Balance
	var all, alive, twice int64
	times := map[int]int64{}
	c.journal.mu.Lock()
	for _, a := range c.journal.arrived {
		if a.run != run {
			continue
		}
		if all++; !a.dead {
			alive++
		}
		times[a.n]++
	}
	confirmed, strange := c.journal.confirmed[run], c.journal.strange
	c.journal.mu.Unlock()
	if len(strange) > 0 {
		t.Errorf("run %d: what arrived is no event: %v", run, strange)
	}
	mayRepeat := run == 0 && (repeats(c.mood) || c.mood == panics && c.late)
	for n, k := range times {
		if filtered(n) {
			t.Errorf("run %d: event %d arrived, which the filter leaves out", run, n)
		}
		sent := int64(1)
		if c.clients != nil {
			sent = c.clients.sent[n].Load()
		}
		if k > sent && !mayRepeat {
			t.Errorf("run %d: event %d arrived %d times, and was sent %d times: %s", run, n, k, sent, c)
		}
		twice += k - 1
	}
	gone := b.Delivered + b.DeadLettered
	most := b.Read - b.Filtered - b.Dropped // what can have got to the sink
	if all < gone {
		t.Errorf("run %d: %d events count as delivered, and %d arrived: %s", run, gone, all, c)
	}
	if all > most && !mayRepeat {
		t.Errorf("run %d: %d events arrived, and %d were sent: %s", run, all, most, c)
	}
	if r.Outcome == engine.Drained {
		if gone != most {
			t.Errorf("run %d: drained: %d of %d events are delivered", run, gone, most)
		}
		if unique := all - twice; c.clients == nil && unique != gone {
			t.Errorf("run %d: %d events arrived, %d count as delivered: %s", run, unique, gone, c)
		}
		if c.peer != nil && !mayRepeat && confirmed != b.Delivered {
			t.Errorf("run %d: the far side confirmed %d events, %d count as delivered: %s", run, confirmed, b.Delivered, c)
		}
	}
}

// checkOrder checks that the events of each partition came in their order, the
// first time that they came. What takes half of a batch keeps no order within it;
// what a client sends again may fill gaps of the request that it sent before.
func (c *cell) checkOrder(run int) {
	if c.concurrency > 1 {
		return
	}
	partitions, together := 1, 1 // so many events may come in any order
	if c.mood == half {
		together = batchSize
	}
	if c.clients != nil {
		partitions = clientCount
	}
	lines := make([][]int, partitions)
	came := map[int]bool{}
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	for _, a := range c.journal.arrived {
		if a.run != run || a.dead || came[a.n] {
			continue
		}
		came[a.n] = true
		line := &lines[a.n/(most/partitions)]
		*line = append(*line, a.n)
		before := (*line)[:max(0, len(*line)-together)]
		if len(before) == 0 {
			continue
		}
		last := slices.Max(before)
		again := c.clients != nil && c.clients.sent[a.n].Load() > 1 && last/requestSize == a.n/requestSize
		if a.n < last && !again {
			c.t.Errorf("run %d: event %d came after %d: %s", run, a.n, last, c)
		}
	}
}

// checkMark checks the checkpoint of a file: it never passes what was
// acknowledged, and, where nothing may be dropped, everything below it has arrived.
func (c *cell) checkMark(read, acked int64, run int) {
	if c.origin != "file" {
		return
	}
	mark := c.mark()
	if mark < c.begins || int64(mark) > int64(c.begins)+acked {
		c.t.Errorf("run %d began at %d, %d of %d events were acknowledged, and the checkpoint is at %d", run, c.begins, acked, read, mark)
	}
	missing := int64(0)
	for n := range mark {
		if !filtered(n) && !c.journal.has(n) {
			missing++
		}
	}
	if missing > c.dropped {
		c.t.Errorf("run %d: the checkpoint is at %d, %d events before it are nowhere, %d were dropped: %s", run, mark, missing, c.dropped, c)
	}
}

// checkAll checks, after the last run, that what is nowhere was dropped.
func (c *cell) checkAll() {
	if c.origin == "generate" {
		return // what a stop catches is lost, and the receipt says so
	}
	missing := int64(0)
	for n := range most {
		if !filtered(n) && !c.journal.has(n) {
			missing++
		}
	}
	if missing > c.dropped || c.nack && missing > 0 {
		c.t.Errorf("%d events are nowhere, and %d were dropped: %s", missing, c.dropped, c)
	}
}
