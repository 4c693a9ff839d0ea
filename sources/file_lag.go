package sources

import (
	"context"
	"os"
	"sync"
	"time"
)

const (
	lagEvery = time.Second           // between two looks at the sizes of the files
	lagWait  = 10 * time.Millisecond // how long Lag waits for such a look
)

// lagLook looks at the sizes of files for Lag, also while Read is not called
// because the pipeline is full. The look runs beside whoever asks for it: a file
// system that hangs must not hang those who only watch.
type lagLook struct {
	mu     sync.Mutex // guards what follows
	due    time.Time
	going  chan struct{} // closed when the look that is going on is over; nil without one
	closed bool
}

// Lag returns how many bytes are in the files on disk that were not read yet;
// the number of events is not known. It may be called at any time, and waits no
// longer than 10 ms for the file system.
func (f *File) Lag() (events, bytes int64) {
	if !f.opened.Load() {
		return -1, -1
	}
	if f.Follow {
		f.look.begin(f.book)
	}
	return -1, f.book.unread() + f.ahead.Load()
}

// begin looks if that is due, and waits a moment for what it brings.
func (l *lagLook) begin(b *book) {
	l.mu.Lock()
	if now := time.Now(); l.going == nil && !l.closed && !now.Before(l.due) {
		l.due, l.going = now.Add(lagEvery), make(chan struct{})
		go l.run(b, l.going)
	}
	going := l.going
	l.mu.Unlock()
	if going == nil {
		return
	}
	timer := time.NewTimer(lagWait)
	defer timer.Stop()
	select {
	case <-going:
	case <-timer.C:
	}
}

func (l *lagLook) run(b *book, over chan struct{}) {
	b.measure()
	l.mu.Lock()
	l.going = nil
	l.mu.Unlock()
	close(over)
}

// close begins no more looks and waits for the one that is going on.
func (l *lagLook) close(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	going := l.going
	l.mu.Unlock()
	if going == nil {
		return
	}
	select {
	case <-going:
	case <-ctx.Done(): // the file system hangs
	}
}

// measure looks how long the files are now. One whose path leads elsewhere keeps
// the length it was last known to have.
func (b *book) measure() {
	paths := map[*known]string{}
	b.update(func() {
		for _, k := range b.files {
			if !k.ended {
				paths[k] = k.path
			}
		}
	})
	for k, path := range paths {
		if info, err := os.Stat(path); err == nil {
			id, length := idOf(info), info.Size()
			b.update(func() {
				if k.id == id {
					k.length = length
				}
			})
		}
	}
}

// unread returns the bytes on disk that were not read.
func (b *book) unread() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.files {
		at := k.at
		if k.packed {
			at = k.taken
		}
		if !k.ended {
			n += max(0, k.length-at)
		}
	}
	return n
}
