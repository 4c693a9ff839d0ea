package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("tcp", func() pipe.Sink {
		return &TCP{Framing: codec.FramingLines, Codec: codec.NDJSON(), Connections: 1, KeepAlive: pipe.Duration(15 * time.Second)}
	})
}

// TCP writes events to a server over a connection that it keeps open.
//
// It can lose events, and repeat them: a batch is confirmed once it is written to
// the socket, for TCP does not tell what the server has read. What is on the way
// when the server or the network goes down is lost, unless the system notices it
// while the batch is written: then the connection is closed and all of the batch is
// written again to the next one, so that the server may get a part of it twice. A
// connection whose server has closed it, or its sending side, is not written to any more.
//
// A server that does not read makes the sink wait, and the pipeline with it. Bound
// the wait with the sink's timeout option.
//
// Example:
//
//	type: tcp
//	address: collector.example:9000
//	framing: lines
type TCP struct {
	// Address is the server, as host:port.
	Address string `yaml:"address" required:"true"`

	// Framing says how the server knows where an event ends: lines (the default) by
	// a line break; octet_counted by its length in decimal and a space before it (RFC
	// 6587); length_u32 and length_u16 by its length before it in 32 or 16 bits, big
	// endian. An event that the framing cannot carry, such as one with a line break
	// as a line, fails.
	Framing codec.Framing `yaml:"framing" enum:"lines,octet_counted,length_u32,length_u16"`

	// Codec is the format of an event, ndjson by default. csv has no header here:
	// list the columns.
	Codec codec.Codec `yaml:"codec"`

	// Connections is how many connections are kept, and so how many batches may be
	// written at once; 1 by default. With more, the order is kept within a batch only.
	Connections int `yaml:"connections" min:"1" max:"256"`

	// KeepAlive is how long the connection may be silent before the system asks
	// whether the server is still there, and how often it does then; 15s by default.
	// 0 never asks: a server that is gone without a word is noticed late.
	KeepAlive pipe.Duration `yaml:"keep_alive"`

	// SendBuffer is how much the kernel is asked to hold of what was written and the
	// server's kernel has not confirmed: what can be lost with a connection. 0, the
	// default, leaves it to the system, which grows it to a few MiB where the network
	// needs that. Lower it to lose less.
	SendBuffer pipe.Size `yaml:"send_buffer" min:"0"`

	// TLS makes it speak TLS.
	TLS *TLS `yaml:"tls"`

	stream streamSink
}

// Validate checks what the rules of single fields do not.
func (s *TCP) Validate() error {
	errs := validateAddress(s.Address)
	if s.KeepAlive < 0 {
		errs = append(errs, pipe.Fieldf("keep_alive", "must not be below 0"))
	}
	return errors.Join(append(errs, validateMessage(&s.Codec)...)...)
}

// validateAddress checks an address field that is a host and a port.
func validateAddress(address string) []error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return []error{pipe.Fieldf("address", "%q is not an address: write host:port", address)}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return []error{pipe.Fieldf("address", "%q is not a port: it is a number from 1 to 65535", port)}
	}
	return nil
}

// validateMessage checks the codec field of a sink that writes each event on its own.
func validateMessage(c *codec.Codec) []error {
	err := c.Validate()
	if err == nil && c.Type == codec.TypeCSV {
		switch {
		case c.Header:
			err = pipe.Fieldf("header", "each event is a message of its own, and the header would be an event: set header: false")
		case len(c.Columns) == 0:
			err = pipe.Fieldf("columns", "csv without a header needs the names of its columns")
		}
	}
	if err == nil {
		return nil
	}
	var fe *pipe.FieldError
	if errors.As(err, &fe) {
		return []error{&pipe.FieldError{Field: "codec." + fe.Field, Err: fe.Err, Hint: fe.Hint}}
	}
	return []error{&pipe.FieldError{Field: "codec", Err: err}}
}

// Open prepares the connections. It does not connect: a server that is down at the
// start is waited for like one that goes down later.
func (s *TCP) Open(_ context.Context, env pipe.Env) error {
	secure, err := secureFor(s.TLS, s.Address)
	if err != nil {
		return err
	}
	s.stream = streamSink{network: "tcp", address: s.Address, framing: s.Framing, secure: secure, keepAlive: keepAlive(s.KeepAlive),
		buffer: int(s.SendBuffer), meter: env.Meter, encoder: messagesOf(&s.Codec)}
	s.stream.open(s.Connections)
	return nil
}

// messagesOf encodes events with a codec.
func messagesOf(c *codec.Codec) func() encode {
	return func() encode { return c.NewEncoder().AppendMessage }
}

// secureFor reads the files of a tls section. The certificate of the server must be
// for the host of address, if the section names no other.
func secureFor(t *TLS, address string) (*tls.Config, error) {
	secure, err := t.Config()
	if err != nil || secure == nil || secure.ServerName != "" {
		return secure, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	secure.ServerName = host
	return secure, nil
}

// keepAlive is what package net wants to hear: below 0 for never.
func keepAlive(d pipe.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d.D()
}

// Write writes in over a free connection.
func (s *TCP) Write(ctx context.Context, in []*pipe.Event) error { return s.stream.write(ctx, in) }

// MaxConcurrent returns how many connections there are.
func (s *TCP) MaxConcurrent() int { return s.Connections }

// Close closes the connections.
func (s *TCP) Close(context.Context) error {
	s.stream.close()
	return nil
}
