package pipe

import (
	"sync"
	"time"
)

// Meter counts how long a component's workers wait for something that the
// engine cannot see. What is neither counted here nor waited for at an edge is
// taken for work. The engine gives every component one in Env.
type Meter struct {
	Idle      Clock // a source waits for input that is not there
	Throttled Clock // a rate limit, a pause or a Retry-After holds the work back
	External  Clock // the far side has been asked and has not answered
}

// Clock sums up waits, those that are still going on included. Its zero value is
// ready. A wait costs two readings of the clock.
type Clock struct {
	mu    sync.Mutex // guards what follows
	open  int64      // waits going on
	begun int64      // sum of their beginnings, in ns since epoch
	ended int64      // sum of the waits that are over, in ns
}

var epoch = time.Now()

// Enter begins a wait and returns when that was, for Leave. A nil Clock counts
// nothing.
func (c *Clock) Enter() (began int64) {
	if c == nil {
		return 0
	}
	began = int64(time.Since(epoch))
	c.mu.Lock()
	c.open++
	c.begun += began
	c.mu.Unlock()
	return began
}

// Leave ends the wait that began then and returns its length.
func (c *Clock) Leave(began int64) time.Duration {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	d := int64(time.Since(epoch)) - began // read under the lock: a Total that came before must not have counted more
	c.open--
	c.begun -= began
	c.ended += d
	c.mu.Unlock()
	return time.Duration(d)
}

// Total returns the time waited by all workers, waits going on included.
func (c *Clock) Total() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.ended + c.open*int64(time.Since(epoch)) - c.begun)
}

// Waiting returns how many workers wait now.
func (c *Clock) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.open)
}
