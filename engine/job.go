package engine

import (
	"context"
	"sync"
	"time"
)

// handover is how long a call that is going on may take to end by itself when a
// reload replaces its component; then its context ends. It bounds how long a
// dead address can hold up its successor.
const handover = time.Second

// job is a component at work in a node. A reload gives the node another job:
// each worker leaves the old one at the end of its step, and the last one out
// closes its component.
type job struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	workers int
	retired bool
	ended   bool
	prev    *job          // the one before it, until nobody works on that
	next    *job          // the one in its place, once it is retired
	closing func()        // closes the component; nil when the next job has the same
	left    chan struct{} // closed once it is retired and nobody works on it or on one before it
}

func newJob(ctx context.Context) job {
	ctx, cancel := context.WithCancel(ctx)
	return job{ctx: ctx, cancel: cancel, left: make(chan struct{})}
}

// over reports whether the component was taken away.
func (j *job) over() bool { return j.ctx.Err() != nil }

func (j *job) join() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.workers++
}

// leave is called by a worker that works on j no more.
func (j *job) leave() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.workers--
	j.end()
}

// retire is called when next is in its place. With replaced its component is not
// used any more: calls that go on for longer than handover are ended, and closing,
// if not nil, is called once nobody works on j; it must not wait.
func (j *job) retire(next *job, replaced bool, closing func()) {
	next.follow(j)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.retired, j.next, j.closing = true, next, closing
	if replaced {
		time.AfterFunc(handover, j.callOff)
	}
	j.end()
}

// follow sets the job before j, which may have the same component; nil when that is
// left.
func (j *job) follow(prev *job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.prev = prev
	j.end()
}

// callOff ends the calls of j, and those of jobs before it: a worker whose step has
// outlasted several reloads is at an early one.
func (j *job) callOff() {
	for j != nil {
		j.cancel()
		j.mu.Lock()
		prev := j.prev
		j.mu.Unlock()
		j = prev
	}
}

func (j *job) end() {
	if !j.retired || j.workers > 0 || j.prev != nil || j.ended {
		return
	}
	j.ended = true
	close(j.left)
	j.cancel()
	if j.closing != nil {
		j.closing()
	}
	j.next.follow(nil)
}
