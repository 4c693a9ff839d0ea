package sinks

import (
	"context"
	"errors"
	"math"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("unix", func() pipe.Sink {
		return &Unix{Socket: socketStream, Framing: codec.FramingLines, Codec: codec.NDJSON(), Connections: 1}
	})
}

// The values of socket.
const (
	socketStream   = "stream"
	socketDatagram = "datagram"
)

// Unix writes events to a program of this machine, through the socket file that it
// listens at.
//
// It can lose events, and repeat them: an event is confirmed once it is in the
// socket, and what the program has not read when it ends is lost. When a
// connection breaks while a batch is written, all of the batch is written again to
// the next one.
//
// A program that does not read makes the sink wait, and the pipeline with it, with
// datagrams as with connections.
//
// Example:
//
//	type: unix
//	path: /run/collector.sock
type Unix struct {
	// Path is the socket file. It may appear later: until then the sink tries again.
	Path string `yaml:"path" required:"true"`

	// Socket is stream (the default) for a connection, or datagram for one datagram
	// for each event.
	Socket string `yaml:"socket" enum:"stream,datagram"`

	// Framing says how the program knows where an event ends: lines (the default),
	// octet_counted, length_u32 or length_u16, as for the tcp sink. Datagrams need
	// none.
	Framing codec.Framing `yaml:"framing" enum:"lines,octet_counted,length_u32,length_u16"`

	// Codec is the format of an event, ndjson by default. csv has no header here:
	// list the columns.
	Codec codec.Codec `yaml:"codec"`

	// Connections is how many connections are kept, and so how many batches may be
	// written at once; 1 by default. Datagrams have one socket.
	Connections int `yaml:"connections" min:"1" max:"256"`

	stream streamSink
	packet packetSink
}

// Validate checks what the rules of single fields do not.
func (s *Unix) Validate() error {
	errs := validateMessage(&s.Codec)
	if s.Socket == socketDatagram && s.Framing != codec.FramingLines {
		errs = append(errs, pipe.Fieldf("framing", "a datagram is a message: framing is for connections"))
	}
	if s.Socket == socketDatagram && s.Connections != 1 {
		errs = append(errs, pipe.Fieldf("connections", "datagrams are written through one socket"))
	}
	return errors.Join(errs...)
}

// Open prepares the sink. It does not connect yet.
func (s *Unix) Open(_ context.Context, env pipe.Env) error {
	if s.Socket == socketDatagram {
		s.packet = packetSink{network: "unixgram", address: s.Path, max: math.MaxInt32, limit: "the system", meter: env.Meter, encode: messagesOf(&s.Codec)()}
		return nil
	}
	s.stream = streamSink{network: "unix", address: s.Path, framing: s.Framing, keepAlive: -1, meter: env.Meter, encoder: messagesOf(&s.Codec)}
	s.stream.open(s.Connections)
	return nil
}

// Write writes in to the socket.
func (s *Unix) Write(ctx context.Context, in []*pipe.Event) error {
	if s.Socket == socketDatagram {
		return s.packet.write(ctx, in)
	}
	return s.stream.write(ctx, in)
}

// MaxConcurrent returns how many connections there are.
func (s *Unix) MaxConcurrent() int { return s.Connections }

// Close closes the connections.
func (s *Unix) Close(context.Context) error {
	s.stream.close()
	s.packet.hangUp()
	return nil
}
