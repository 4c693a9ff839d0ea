package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// packetSink writes each event as a datagram, for the sinks udp, unix and syslog.
type packetSink struct {
	network string // udp or unixgram
	address string
	max     int // bytes of a datagram
	limit   string
	meter   *pipe.Meter
	encode  encode

	buf  []byte
	conn net.Conn
}

// write sends the datagrams one after the other. What the kernel has taken counts
// as written.
func (s *packetSink) write(ctx context.Context, in []*pipe.Event) error {
	if len(in) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	if s.conn == nil {
		if err := s.dial(ctx); err != nil {
			return s.failed(ctx, err)
		}
	}
	conn := s.conn
	stop := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() { // its deadline is or will be set
			s.hangUp()
		}
		s.buf = reuse(s.buf)
	}()
	if s.meter != nil {
		defer s.meter.External.Leave(s.meter.External.Enter())
	}
	var bad []pipe.ItemError
	for i, e := range in {
		err := s.send(e)
		switch {
		case err == nil:
		case pipe.ClassOf(err, "") == pipe.Poison:
			bad = append(bad, pipe.ItemError{Index: i, Err: err})
		default:
			s.hangUp()
			return failFrom(i, len(in), bad, s.failed(ctx, err))
		}
	}
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// send writes one event. Poison says that it can never be sent.
func (s *packetSink) send(e *pipe.Event) (err error) {
	if s.buf, err = s.encode(s.buf[:0], e); err != nil {
		return pipe.Classed(pipe.Poison, err)
	}
	if len(s.buf) > s.max {
		return messageTooLarge(len(s.buf), s.limit, s.max)
	}
	_, err = s.conn.Write(s.buf)
	if errors.Is(err, syscall.EMSGSIZE) {
		return pipe.Classed(pipe.Poison, fmt.Errorf("the event has %d bytes, more than the system sends in one datagram", len(s.buf)))
	}
	return err
}

// messageTooLarge fails an event whose message is larger than an option lets it be.
func messageTooLarge(n int, limit string, max int) error {
	return pipe.Classed(pipe.Poison, fmt.Errorf("the event makes a message of %d bytes, more than %s (%s)", n, limit, pipe.Size(max)))
}

func (s *packetSink) dial(ctx context.Context) error {
	d := net.Dialer{Timeout: dialIn}
	conn, err := d.DialContext(ctx, s.network, s.address)
	if err == nil {
		s.conn = conn
	}
	return err
}

func (s *packetSink) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return pipe.Classed(pipe.Retryable, fmt.Errorf("%s %s: %w", s.network, s.address, netCause(err)))
}

func (s *packetSink) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}
