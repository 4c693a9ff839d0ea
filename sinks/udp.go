package sinks

import (
	"context"
	"errors"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("udp", func() pipe.Sink { return &UDP{Codec: codec.NDJSON(), MaxDatagram: maxUDP} })
}

// maxUDP is the largest payload of a UDP datagram over IPv4.
const maxUDP = 65507

// UDP writes each event as a datagram.
//
// It loses events: an event is confirmed once this machine has it in its send
// buffer, and nobody tells whether it arrives. When the other machine answers that
// nobody listens there, the next event fails and is tried again, but what was sent
// before is lost. There is no pressure from the far side: limit the rate before the
// sink if it cannot bear any.
//
// An event is sent whole or fails: none is ever cut.
//
// Example:
//
//	type: udp
//	address: statsd.example:8125
//	codec: lines
//	max_datagram: 1400
type UDP struct {
	// Address is where the datagrams go, as host:port.
	Address string `yaml:"address" required:"true"`

	// Codec is the format of an event, ndjson by default, without a line break at
	// its end. csv has no header here: list the columns.
	Codec codec.Codec `yaml:"codec"`

	// MaxDatagram is the most bytes that an event may have; a larger one fails. The
	// default, 65507, is the most that UDP can carry. What is larger than about 1400
	// travels in pieces on most networks, and is lost when one of them is: set 1400
	// to forbid that.
	MaxDatagram pipe.Size `yaml:"max_datagram" min:"1"`

	packet packetSink
}

// Validate checks what the rules of single fields do not.
func (s *UDP) Validate() error {
	errs := validateAddress(s.Address)
	if s.MaxDatagram > maxUDP {
		errs = append(errs, pipe.Fieldf("max_datagram", "must be at most %d, the most that UDP allows, got %d", maxUDP, int64(s.MaxDatagram)))
	}
	return errors.Join(append(errs, validateMessage(&s.Codec)...)...)
}

// Open prepares the sink. The address is looked up by the first Write.
func (s *UDP) Open(_ context.Context, env pipe.Env) error {
	s.packet = packetSink{network: "udp", address: s.Address, max: int(s.MaxDatagram), limit: "max_datagram", meter: env.Meter, encode: messagesOf(&s.Codec)()}
	return nil
}

// Write sends each event of in as a datagram.
func (s *UDP) Write(ctx context.Context, in []*pipe.Event) error { return s.packet.write(ctx, in) }

// Close closes the socket.
func (s *UDP) Close(context.Context) error {
	s.packet.hangUp()
	return nil
}
