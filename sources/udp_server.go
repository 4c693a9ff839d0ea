package sources

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

const (
	aheadDatagrams = 512 // that may wait to be taken, and as many that are being taken
	datagramHead   = 4 << 10
)

// packetSocket is a bound socket of datagrams.
type packetSocket interface {
	// receive reads one datagram into p; from is the address of the sender, if any.
	receive(p []byte) (n int, from string, err error)
	Close() error
}

// packetServer reads datagrams for the sources udp, unix and syslog. A goroutine
// takes them from the kernel while there is a place for them, so that the kernel's
// buffer is there for the time when there is none.
type packetServer struct {
	socket packetSocket
	max    int // largest message
	limit  string
	intake *intake
	log    *slog.Logger
	idle   *pipe.Clock

	wake    chan struct{} // one slot: there is something to take
	room    chan struct{} // one slot: there may be a place again
	over    chan struct{} // closed by drain: nothing is read from the kernel any more
	shut    chan struct{} // closed by close
	once    sync.Once
	failed  chan error
	running sync.WaitGroup
	taken   atomic.Int64

	mine []datagram // of read: taken out of queue
	next int        // the first of mine that no batch has yet

	mu    sync.Mutex // guards what follows
	queue []datagram
}

type datagram struct {
	frame codec.Frame
	peer  string
	chunk *packetChunk
}

// packetChunk is a buffer that waiting datagrams are in. It is held once for all of
// them and for the goroutine that fills it.
type packetChunk struct {
	*pipe.Chunk
	users atomic.Int32
}

func (c *packetChunk) leave() {
	if c.users.Add(-1) == 0 {
		c.Release()
	}
}

// start begins to read the socket.
func (s *packetServer) start(socket packetSocket) {
	s.socket = socket
	s.wake, s.room = make(chan struct{}, 1), make(chan struct{}, 1)
	s.over, s.shut, s.failed = make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s.running.Go(s.run)
}

// run reads datagrams one behind the other into buffers of several.
func (s *packetServer) run() {
	size := s.max + 1 // one more byte tells what is larger
	chunks := pipe.NewChunks(max(4*size, 64<<10))
	fresh := func() *packetChunk {
		c := &packetChunk{Chunk: chunks.Get()}
		c.users.Store(1)
		return c
	}
	chunk, used := fresh(), 0
	defer func() { chunk.leave() }()
	for s.waitForRoom() {
		if len(chunk.Mem)-used < size {
			chunk.leave()
			chunk, used = fresh(), 0
		}
		p := chunk.Mem[used : used+size : used+size]
		n, from, err := s.socket.receive(p)
		if err != nil {
			select {
			case <-s.over:
			default:
				s.failed <- fmt.Errorf("receive: %w", err)
			}
			return
		}
		s.taken.Add(int64(n))
		s.put(p[:n:n], from, chunk)
		used += n
	}
}

// waitForRoom waits until a datagram may be read; false means that none may.
func (s *packetServer) waitForRoom() bool {
	for {
		s.mu.Lock()
		n := len(s.queue)
		s.mu.Unlock()
		select {
		case <-s.over:
			return false
		default:
		}
		if n < aheadDatagrams {
			return true
		}
		select {
		case <-s.room:
		case <-s.over:
			return false
		}
	}
}

func (s *packetServer) put(p []byte, from string, chunk *packetChunk) {
	d := datagram{frame: codec.Frame{Data: p}, peer: from, chunk: chunk}
	if len(p) > s.max {
		d.frame = codec.Frame{Data: bytes.Clone(p[:min(s.max, datagramHead)]),
			Err: fmt.Errorf("datagram is larger than %s (%s)", s.limit, pipe.Size(s.max))}
	}
	chunk.users.Add(1)
	s.mu.Lock()
	s.queue = append(s.queue, d)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// read appends datagrams to b, or waits for one. When ctx has ended it takes what
// is here, and returns.
func (s *packetServer) read(ctx context.Context, b *pipe.Batch) error {
	for {
		s.collect(b)
		if b.Len() > 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
}

// collect appends what is here, until b is full.
func (s *packetServer) collect(b *pipe.Batch) {
	var kept *packetChunk
	for !fills(b) && (s.next < len(s.mine) || s.refill()) {
		d := &s.mine[s.next]
		before := b.Len()
		s.intake.add(b, d.frame, d.peer, false)
		if b.Len() > before && d.chunk != kept {
			b.Keep(d.chunk.Chunk)
			kept = d.chunk
		}
		d.chunk.leave()
		s.next++
	}
}

// refill takes the queue, and leaves an empty one.
func (s *packetServer) refill() bool {
	clear(s.mine)
	s.mu.Lock()
	s.queue, s.mine, s.next = s.mine[:0], s.queue, 0
	s.mu.Unlock()
	if len(s.mine) == 0 {
		return false
	}
	select {
	case s.room <- struct{}{}:
	default:
	}
	return true
}

func (s *packetServer) wait(ctx context.Context) error {
	defer s.idle.Leave(s.idle.Enter())
	select {
	case <-s.wake:
		return nil
	case err := <-s.failed:
		return err
	case <-s.shut:
		return errClosed
	case <-ctx.Done():
		return nil
	}
}

// drain closes the socket: what the kernel has and what comes later is lost, as
// it would be without a source.
func (s *packetServer) drain() {
	s.once.Do(func() {
		close(s.over)
		s.socket.Close()
	})
}

// close ends the reading and says what of it is lost.
func (s *packetServer) close() {
	if s.socket == nil {
		return
	}
	select {
	case <-s.shut:
		return
	default:
	}
	close(s.shut)
	s.drain()
	s.running.Wait()
	lost := 0
	for s.next < len(s.mine) || s.refill() {
		s.mine[s.next].chunk.leave()
		s.next++
		lost++
	}
	if lost > 0 {
		s.log.Warn("datagrams were read that the pipeline did not take any more: they are lost", "datagrams", lost)
	}
}
