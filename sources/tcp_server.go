package sources

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

const (
	handshakeIn   = 10 * time.Second       // how long a TLS handshake may take
	acceptPause   = 100 * time.Millisecond // after an error of accept that may pass
	peerShared    = 32                     // messages from which a delivery gets a batch of its own
	acceptedAlive = 15 * time.Second       // between the probes of an idle connection
)

var errClosed = errors.New("the source is closed")

// streamServer accepts connections and cuts what they bring into messages, for the
// sources tcp, unix and syslog. Each connection has a goroutine, which reads one
// buffer, hands its messages over, and reads on only then: while nobody calls
// read, all of them wait, and the kernel closes the windows of the senders.
type streamServer struct {
	framing        codec.Framing
	maxFrame       int
	limit          string // the option that maxFrame comes from
	maxConnections int
	idleTimeout    time.Duration
	intake         *intake
	secure         *web.Certificates
	log            *slog.Logger
	idle           *pipe.Clock

	listener net.Listener
	incoming chan *delivery
	over     chan struct{} // closed by close: nothing is handed over any more
	quiet    chan struct{} // closed by drain: nothing is read any more
	once     sync.Once     // closes quiet
	failed   chan error    // why accept ended by itself
	running  sync.WaitGroup
	current  *delivery // of read: handed over in part
	taken    atomic.Int64
	lost     atomic.Int64 // messages that were read and that nobody took

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]bool
	full  bool // it was logged that max_connections is reached
}

// delivery is what one buffer of a connection held. Its connection waits until
// done is closed.
type delivery struct {
	frames []codec.Frame
	from   *codec.FrameReader
	peer   string
	done   chan struct{}
}

// start begins to accept connections on ln.
func (s *streamServer) start(ln net.Listener) {
	s.listener, s.conns = ln, map[net.Conn]bool{}
	s.incoming, s.failed = make(chan *delivery), make(chan error, 1)
	s.over, s.quiet = make(chan struct{}), make(chan struct{})
	if s.secure != nil {
		s.running.Go(func() { s.secure.Watch(s.over, s.log) })
	}
	s.running.Go(s.accept)
}

// accept takes connections while there is a place for them.
func (s *streamServer) accept() {
	places := make(chan struct{}, s.maxConnections)
	for {
		if !s.place(places) {
			return
		}
		c, err := s.listener.Accept()
		if err == nil {
			if !s.enter(c) {
				c.Close()
				return
			}
			s.running.Go(func() {
				defer func() { <-places }()
				s.serve(c)
			})
			continue
		}
		<-places
		switch {
		case s.stopped():
			return
		case passes(err):
			s.log.Warn("connection not accepted; it is tried again", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-s.quiet:
			}
		default:
			s.failed <- fmt.Errorf("accept at %s: %w", s.listener.Addr(), err)
			return
		}
	}
}

// passes reports whether an error of accept may pass by itself.
func passes(err error) bool {
	for _, e := range []error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// place waits for a place for one more connection, and says once that it waits.
func (s *streamServer) place(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-s.quiet:
		return false
	default:
	}
	s.mu.Lock()
	said := s.full
	s.full = true
	s.mu.Unlock()
	if !said {
		s.log.Warn("max_connections is reached; further ones wait until one closes", "max_connections", s.maxConnections)
	}
	select {
	case places <- struct{}{}:
		return true
	case <-s.quiet:
		return false
	}
}

// enter remembers a connection, or reports false when the source stops.
func (s *streamServer) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped() {
		return false
	}
	s.conns[c] = true
	if len(s.conns) < s.maxConnections/2 {
		s.full = false
	}
	return true
}

func (s *streamServer) stopped() bool {
	select {
	case <-s.quiet:
		return true
	default:
		return false
	}
}

// serve reads a connection to its end.
func (s *streamServer) serve(raw net.Conn) {
	defer func() {
		raw.Close()
		s.mu.Lock()
		delete(s.conns, raw)
		s.mu.Unlock()
	}()
	if t, ok := raw.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: acceptedAlive, Interval: acceptedAlive, Count: 4})
	}
	c := &streamConn{Conn: raw, s: s}
	log := s.log.With("peer", peerOf(raw))
	if s.secure != nil {
		var err error
		if c.Conn, err = s.handshake(raw); err != nil {
			log.Debug("tls handshake ended without a connection", "error", err)
			return
		}
	}
	r := s.framing.NewReader(c, s.maxFrame, s.limit)
	defer r.Release()
	d := &delivery{from: r, peer: peerOf(raw)}
	var frames []codec.Frame
	for {
		var err error
		frames, err = r.Read(frames[:0])
		d.frames = frames
		if len(frames) > 0 && !s.hand(d) {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, codec.ErrFramingLost):
			log.Warn("connection closed: it makes no sense as the framing", "framing", string(s.framing))
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && !s.stopped():
			log.Info("connection closed: idle_timeout is over", "idle_timeout", s.idleTimeout)
			return
		default:
			log.Debug("connection ended", "reason", err)
			return
		}
	}
}

// handshake makes raw a TLS connection.
func (s *streamServer) handshake(raw net.Conn) (net.Conn, error) {
	c := tls.Server(raw, s.secure.Config())
	ctx, cancel := context.WithTimeout(context.Background(), handshakeIn)
	defer cancel()
	return c, c.HandshakeContext(ctx)
}

// hand gives d to read and waits until it has taken all of it. It reports false
// when the source is closed before.
func (s *streamServer) hand(d *delivery) bool {
	d.done = make(chan struct{})
	select {
	case s.incoming <- d:
	case <-s.over:
		s.lost.Add(int64(len(d.frames)))
		return false
	}
	select {
	case <-d.done:
		return true
	case <-s.over:
		return false
	}
}

// streamConn is a connection that closes when it is idle, and knows when to stop.
type streamConn struct {
	net.Conn
	s *streamServer
}

func (c *streamConn) Read(p []byte) (int, error) {
	deadline := time.Time{}
	if t := c.s.idleTimeout; t > 0 {
		deadline = time.Now().Add(t)
	}
	c.s.mu.Lock()
	if c.s.stopped() {
		deadline = time.Unix(1, 0)
	}
	err := c.Conn.SetReadDeadline(deadline) // under the lock: drain sets one too
	c.s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.s.taken.Add(int64(n))
	return n, err
}

// peerOf returns the address of the other side, empty when it has none.
func peerOf(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil && a.String() != "@" {
		return a.String()
	}
	return ""
}

// read appends messages of the connections to b, or waits for one. When ctx has
// ended it takes what was read already, and returns.
func (s *streamServer) read(ctx context.Context, b *pipe.Batch) error {
	for b.Len() == 0 && ctx.Err() == nil {
		if s.current == nil {
			if err := s.wait(ctx); err != nil {
				return err
			}
		}
		s.collect(b)
	}
	if ctx.Err() != nil {
		s.collect(b)
	}
	return ctx.Err()
}

// collect appends what is here, until b is full.
func (s *streamServer) collect(b *pipe.Batch) {
	for !fills(b) {
		if s.current == nil {
			select {
			case s.current = <-s.incoming:
			default:
				return
			}
		}
		if s.add(b) {
			return
		}
	}
}

// wait waits for a delivery.
func (s *streamServer) wait(ctx context.Context) error {
	select {
	case <-s.over:
		return errClosed
	default:
	}
	defer s.idle.Leave(s.idle.Enter())
	select {
	case s.current = <-s.incoming:
		return nil
	case err := <-s.failed:
		return err
	case <-s.over:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add moves messages of the current delivery into b, until b is full. It reports
// whether b has its peer's address for all events, so that no others may follow.
func (s *streamServer) add(b *pipe.Batch) (alone bool) {
	d := s.current
	if d.peer != "" && b.Len() == 0 && len(d.frames) >= peerShared {
		alone = true
		b.SetMeta(metaPeer, d.peer)
	}
	before := b.Len()
	for len(d.frames) > 0 && !fills(b) {
		s.intake.add(b, d.frames[0], d.peer, alone)
		d.frames = d.frames[1:]
	}
	if b.Len() > before {
		d.from.Keep(b)
	}
	if len(d.frames) == 0 {
		s.current = nil
		close(d.done)
	}
	return alone
}

// drain accepts and reads nothing more. What was read is still handed over.
func (s *streamServer) drain() {
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.quiet)
		s.listener.Close()
		for c := range s.conns {
			c.SetReadDeadline(time.Unix(1, 0))
		}
	})
}

// close ends all connections and waits for them. It says how much of what they had
// read is lost.
func (s *streamServer) close() {
	if s.listener == nil {
		return
	}
	s.drain()
	select {
	case <-s.over:
		return
	default:
	}
	close(s.over)
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	if d := s.current; d != nil {
		s.lost.Add(int64(len(d.frames)))
	}
	if n := s.lost.Load(); n > 0 {
		s.log.Warn("messages were read from connections that the pipeline did not take any more: they are lost", "messages", n)
	}
}
