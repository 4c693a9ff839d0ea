package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// dialIn is how long connecting and the TLS handshake may take each.
const dialIn = 10 * time.Second

// encode appends one event to dst without what ends it.
type encode func(dst []byte, e *pipe.Event) ([]byte, error)

// streamSink writes batches to connections, for the sinks tcp, unix and syslog. A
// Write takes one of the connections, opens it when it is not, and writes the
// batch. What the kernel has taken counts as written.
type streamSink struct {
	network   string
	address   string
	framing   codec.Framing
	secure    *tls.Config // nil without TLS
	keepAlive time.Duration
	buffer    int // asked of the kernel; 0 for what it gives
	meter     *pipe.Meter
	encoder   func() encode // for one connection, whose calls do not overlap
	wires     chan *wire    // those that are free
	all       []*wire
}

// wire is one of the connections.
type wire struct {
	s      *streamSink
	encode encode
	buf    []byte
	body   []byte // one event
	conn   net.Conn
	gone   *atomic.Bool  // the other side has closed conn
	idle   chan struct{} // closed when its reader has ended
}

func (s *streamSink) open(connections int) {
	s.wires = make(chan *wire, connections)
	for range connections {
		w := &wire{s: s, encode: s.encoder()}
		s.all = append(s.all, w)
		s.wires <- w
	}
}

// write writes a batch over a free connection.
func (s *streamSink) write(ctx context.Context, in []*pipe.Event) error {
	if len(in) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	var w *wire
	select {
	case w = <-s.wires:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.wires <- w }()
	bad := w.fill(in)
	if len(w.buf) > 0 {
		if err := w.send(ctx); err != nil {
			return err
		}
	}
	w.buf = reuse(w.buf)
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// fill makes buf of the batch. Events that cannot be written are left out and
// returned.
func (w *wire) fill(in []*pipe.Event) (bad []pipe.ItemError) {
	w.buf = w.buf[:0]
	for i, e := range in {
		var err error
		w.body, err = w.encode(w.body[:0], e)
		if err == nil {
			w.buf, err = w.s.framing.Append(w.buf, w.body)
		}
		if err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: err})
		}
	}
	w.body = reuse(w.body)
	return bad
}

// send writes buf whole. After an error nobody knows how much of it has arrived:
// the connection is closed, so that the next one begins with a whole message.
func (w *wire) send(ctx context.Context) error {
	if w.conn != nil && w.gone.Load() {
		w.hangUp()
	}
	if w.conn == nil {
		if err := w.dial(ctx); err != nil {
			return w.failed(ctx, err)
		}
	}
	conn := w.conn
	stop := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) })
	if w.s.meter != nil {
		defer w.s.meter.External.Leave(w.s.meter.External.Enter())
	}
	_, err := conn.Write(w.buf)
	if !stop() && err == nil { // the deadline may be set any moment
		w.hangUp()
	}
	if err != nil {
		w.hangUp()
		return w.failed(ctx, err)
	}
	return nil
}

// failed classes what kept a batch from being written: all of it may pass.
func (w *wire) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	remedy := ""
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &authority):
		remedy = ": set tls.ca to the authority that signed the server's certificate"
	case errors.As(err, &host):
		remedy = ": set tls.server_name to a name that is in the server's certificate"
	}
	return pipe.Classed(pipe.Retryable, fmt.Errorf("%s %s: %w%s", w.s.network, w.s.address, netCause(err), remedy))
}

// netCause takes the operation and the address off an error of package net: the
// message names them already.
func netCause(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// dial connects, and begins to read what the other side says: nothing that
// matters, but it is how its end is noticed before something is written.
func (w *wire) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*dialIn)
	defer cancel()
	d := net.Dialer{Timeout: dialIn, KeepAlive: w.s.keepAlive}
	if w.s.meter != nil {
		defer w.s.meter.External.Leave(w.s.meter.External.Enter())
	}
	conn, err := d.DialContext(ctx, w.s.network, w.s.address)
	if err != nil {
		return err
	}
	if b, ok := conn.(interface{ SetWriteBuffer(int) error }); ok && w.s.buffer > 0 {
		b.SetWriteBuffer(w.s.buffer) // a wish: it limits what is lost, and nothing depends on it
	}
	if w.s.secure != nil {
		t := tls.Client(conn, w.s.secure)
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return err
		}
		conn = t
	}
	gone, idle := new(atomic.Bool), make(chan struct{})
	go func() {
		defer close(idle)
		io.Copy(io.Discard, conn)
		gone.Store(true)
	}()
	w.conn, w.gone, w.idle = conn, gone, idle
	return nil
}

// hangUp closes the connection.
func (w *wire) hangUp() {
	if w.conn == nil {
		return
	}
	w.conn.Close()
	<-w.idle
	w.conn = nil
}

// close closes the connections. What the kernel has taken it still sends.
func (s *streamSink) close() {
	for _, w := range s.all {
		w.hangUp()
	}
}
