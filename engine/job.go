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
	closing func()        // closes the component; nil when the next job has the same
	left    chan struct{} // closed once it is retired and nobody works on it
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

// retire is called when another job is in its place. With replaced its component
// is not used any more: calls that go on for longer than handover are ended, and
// closing, if not nil, is called once nobody works on j; it must not wait.
func (j *job) retire(replaced bool, closing func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.retired, j.closing = true, closing
	if replaced {
		time.AfterFunc(handover, j.cancel)
	}
	j.end()
}

func (j *job) end() {
	if !j.retired || j.workers > 0 || j.ended {
		return
	}
	j.ended = true
	close(j.left)
	j.cancel()
	if j.closing != nil {
		j.closing()
	}
}
