package sources

import (
	"context"
	"errors"
	"net"
	"strconv"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSource("tcp", func() pipe.Source {
		return &TCP{
			Listen:         "127.0.0.1:9000",
			Framing:        codec.FramingLines,
			Codec:          codec.Lines(),
			MaxFrame:       1 << 20,
			MaxConnections: 1024,
		}
	})
}

// TCP takes messages from connections that clients open to it.
//
// It can lose events: TCP tells a client what the kernel of this machine has, not
// what was delivered, and nothing can be read again. What is in the pipeline is
// lost when it is killed, and at a shutdown what clients have sent and the source
// has not read.
//
// While the pipeline is full it reads no connection: the windows close and clients
// wait in their writes. It reads at most one buffer of each connection ahead, of
// 64 KiB, or twice its largest message if that is more.
//
// A message that is too large or cannot be decoded leaves through the failed port
// with its first 4 KiB, and the connection goes on behind it. Where counting makes
// no sense (a count that is no number, or of more than 256 MiB) the next message
// cannot be found: the connection is closed.
//
// At a shutdown it stops accepting and reading at once, hands on the messages that
// it has read while the pipeline takes them, and closes the connections.
//
// The address of the client is in the metadata of each event, as peer.
//
// Example:
//
//	type: tcp
//	listen: 0.0.0.0:9000
//	codec: ndjson
type TCP struct {
	// Listen is the address and port to listen at, such as 0.0.0.0:9000 for every
	// interface. The default, 127.0.0.1:9000, can be reached from this machine only.
	// Port 0 takes any free port.
	Listen string `yaml:"listen"`

	// Framing says where a message ends: lines (the default) at a line break;
	// octet_counted after as many bytes as the decimal number and the space before
	// it say (RFC 6587); length_u32 and length_u16 after as many as 32 or 16 bits
	// before it say, big endian. What a client of lines sends before it closes
	// without a last line break is a message, too.
	Framing codec.Framing `yaml:"framing" enum:"lines,octet_counted,length_u32,length_u16"`

	// Codec is how a message is decoded. The default, lines, makes one event of each
	// message, or one of each line where the framing lets it have several. Each
	// message is decoded on its own.
	Codec codec.Codec `yaml:"codec"`

	// MaxFrame is the largest message, 1MiB by default. limits.max_event_bytes
	// bounds it, too.
	MaxFrame pipe.Size `yaml:"max_frame" min:"1"`

	// MaxConnections is how many connections may be open, 1024 by default. More are
	// not accepted until one closes: they wait in the kernel, and the log says so.
	MaxConnections int `yaml:"max_connections" min:"1"`

	// IdleTimeout closes a connection that has sent nothing for this long while the
	// source was waiting for it. 0, the default, lets them stay: what is gone without
	// a word is found by the probes of TCP, after a minute and a quarter.
	IdleTimeout pipe.Duration `yaml:"idle_timeout"`

	// TLS makes clients speak TLS. Without it, what they send can be read by anybody
	// between.
	TLS *web.ServerTLS `yaml:"tls"`

	server streamServer
}

// Validate checks what the rules of single fields do not.
func (s *TCP) Validate() error {
	errs := validateListen(s.Listen)
	if s.IdleTimeout < 0 {
		errs = append(errs, pipe.Fieldf("idle_timeout", "must not be below 0"))
	}
	if err := s.Codec.ValidateMessage(); err != nil {
		errs = append(errs, below("codec", err)...)
	}
	return errors.Join(errs...)
}

// validateListen checks a listen field that is an address and a port.
func validateListen(address string) []error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return []error{pipe.Fieldf("listen", "%q is not an address: write host:port, such as 127.0.0.1:9000", address)}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return []error{pipe.Fieldf("listen", "%q is not a port: it is a number from 0 to 65535", port)}
	}
	return nil
}

// Traits implements pipe.Traiter.
func (s *TCP) Traits() pipe.Traits { return pipe.Traits{Why: "tcp cannot be read again"} }

// Open binds the port and accepts connections.
func (s *TCP) Open(ctx context.Context, env pipe.Env) error {
	max, limit := largest("max_frame", s.MaxFrame, env)
	s.server = streamServer{framing: s.Framing, maxFrame: max, limit: limit, maxConnections: s.MaxConnections,
		idleTimeout: s.IdleTimeout.D(), log: env.Log, idle: idle(env),
		intake: &intake{codec: &s.Codec, max: max}}
	return s.server.listenTCP(ctx, s.Listen, s.TLS)
}

// listenTCP binds an address and starts the server there.
func (s *streamServer) listenTCP(ctx context.Context, address string, secure *web.ServerTLS) error {
	if secure != nil {
		var err error
		if s.secure, err = secure.Open(); err != nil {
			return err
		}
	}
	lc := net.ListenConfig{KeepAlive: -1} // serve sets its own
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return listenError(address, err)
	}
	s.start(ln)
	s.log.Info("listening", "protocol", "tcp", "address", ln.Addr().String(), "tls", secure != nil)
	return nil
}

// Addr returns the address it listens at, once open.
func (s *TCP) Addr() net.Addr { return s.server.listener.Addr() }

// Read implements pipe.Source.
func (s *TCP) Read(ctx context.Context, b *pipe.Batch) error { return s.server.read(ctx, b) }

// Drain stops accepting and reading.
func (s *TCP) Drain() { s.server.drain() }

// Close closes the connections.
func (s *TCP) Close(context.Context) error {
	s.server.close() // nothing in it waits for anybody outside
	return nil
}
