package sources

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/syslog"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSource("syslog", func() pipe.Source {
		return &Syslog{
			Protocol:       "udp",
			Listen:         "127.0.0.1:5514",
			Format:         syslog.Auto,
			Timezone:       "local",
			Framing:        codec.FramingSyslog,
			MaxMessage:     64 << 10,
			MaxConnections: 1024,
			ReadBuffer:     4 << 20,
		}
	})
}

// Syslog takes syslog messages from the network or from programs of this machine.
//
// It can lose events: syslog tells nobody what was delivered, and nothing can be
// sent again. Over udp the kernel drops what the pipeline does not take in time,
// which is counted where the system tells it, see the udp source; over tcp and
// unix senders wait, see the tcp and the unix source, which also say what a
// shutdown does. rsyslog and syslog-ng queue meanwhile if they are told to.
//
// A message becomes an event with these fields, of which those that the message
// does not have are absent:
//
//   - facility: its name, such as kern, user, daemon, auth, local0.
//   - severity: its name: emerg, alert, crit, err, warning, notice, info, debug.
//   - timestamp: RFC 3339, such as 2026-03-01T23:30:00Z.
//   - hostname, app_name, proc_id.
//   - msg_id and structured_data: of RFC 5424 only. structured_data is an object of
//     the elements, each an object of its parameters; of several parameters with one
//     name the values are an array.
//   - message: the text, without a byte order mark. It is absent when RFC 5424 has none.
//
// A message without a priority such as <13>, or one in RFC 5424 that is not as that
// demands, leaves through the failed port as it came. RFC 3164 demands nothing: what
// does not look like its header is all message. So a message of a program on this
// machine, which has no host name, is read right, too; one with a header of a
// router's own has all of it in message.
//
// The address of the sender is in the metadata of each event, as peer; the host
// name is what the sender says of itself.
//
// Example:
//
//	type: syslog
//	protocol: tcp
//	listen: 0.0.0.0:5514
//	timezone: UTC
type Syslog struct {
	// Protocol is udp (the default), tcp, unix for connections to a socket file, or
	// unix_datagram for datagrams to one, as programs send them to /dev/log.
	Protocol string `yaml:"protocol" enum:"udp,tcp,unix,unix_datagram"`

	// Listen is the address and port to listen at, such as 0.0.0.0:5514 for every
	// interface; 127.0.0.1:5514 by default. The port of syslog, 514, needs privileges.
	// For unix and unix_datagram it is the path of the socket file, at most 100 bytes
	// long, which must be absolute.
	Listen string `yaml:"listen"`

	// Mode is who may connect to the socket file, as its permissions in octal, such
	// as "0666". Empty, the default, leaves it to the umask of the process.
	Mode string `yaml:"mode"`

	// Format is auto (the default), which takes each message for what it looks like;
	// rfc3164 or rfc5424.
	Format syslog.Format `yaml:"format" enum:"auto,rfc3164,rfc5424"`

	// Timezone is where times of RFC 3164 are from, which do not say it: local (the
	// default), UTC or a name such as Europe/Berlin.
	Timezone string `yaml:"timezone"`

	// Year is the year of times of RFC 3164 without one. 0, the default, takes the
	// one that puts them nearest to now, so that what is sent at midnight of the new
	// year is right.
	Year int `yaml:"year" min:"0"`

	// Framing says where a message of a connection ends. auto (the default) finds out
	// for each message: octet_counted when it begins with a number, a space and "<",
	// else at a line break or a zero byte. octet_counted and lines demand the one or
	// the other; with octet_counted a message can have line breaks.
	Framing codec.Framing `yaml:"framing" enum:"auto,octet_counted,lines"`

	// MaxMessage is the largest message, 64KiB by default. limits.max_event_bytes
	// bounds it, too. A larger one leaves through the failed port with its first 4
	// KiB.
	MaxMessage pipe.Size `yaml:"max_message" min:"1"`

	// MaxConnections is how many connections may be open, 1024 by default. More are
	// not accepted until one closes.
	MaxConnections int `yaml:"max_connections" min:"1"`

	// IdleTimeout closes a connection that has sent nothing for this long. 0, the
	// default, lets them stay: many senders lose a message when they find their
	// connection closed.
	IdleTimeout pipe.Duration `yaml:"idle_timeout"`

	// ReadBuffer is how much the kernel is asked to hold of datagrams that are not
	// read yet, 4MiB by default. When it gives less, the log says so.
	ReadBuffer pipe.Size `yaml:"read_buffer" min:"0"`

	// TLS makes senders speak TLS, over tcp.
	TLS *web.ServerTLS `yaml:"tls"`

	sockets socketSource
	conn    *net.UDPConn
	drops   dropCount
}

// Validate checks what the rules of single fields do not.
func (s *Syslog) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) { errs = append(errs, pipe.Fieldf(field, format, args...)) }
	stream := s.Protocol == "tcp" || s.Protocol == "unix"
	if s.file() {
		errs = append(errs, validateSocket("listen", s.Listen, s.Mode)...)
		if s.Listen != "" && !filepath.IsAbs(s.Listen) {
			bad("listen", "%q is not an absolute path, which protocol %s needs", s.Listen, s.Protocol)
		}
	} else {
		errs = append(errs, validateListen(s.Listen)...)
		if s.Mode != "" {
			bad("mode", "is for a socket file, not for protocol %s", s.Protocol)
		}
	}
	if !stream && s.Framing != codec.FramingSyslog {
		bad("framing", "a datagram is a message: framing is for tcp and unix")
	}
	if s.TLS != nil && s.Protocol != "tcp" {
		bad("tls", "needs protocol tcp, got %s", s.Protocol)
	}
	if s.IdleTimeout < 0 {
		bad("idle_timeout", "must not be below 0")
	}
	if s.Year != 0 && (s.Year < 1970 || s.Year > 9999) {
		bad("year", "%d is no year of a message: 1970 to 9999, or 0 to find out", s.Year)
	}
	if _, err := syslog.Zone(s.Timezone); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// file reports whether it listens at a socket file.
func (s *Syslog) file() bool { return s.Protocol == "unix" || s.Protocol == "unix_datagram" }

// Traits implements pipe.Traiter.
func (s *Syslog) Traits() pipe.Traits {
	return pipe.Traits{Unpaused: s.Protocol == "udp", Why: "syslog over " + s.Protocol + " cannot be read again"}
}

// Open binds the port or makes the socket file.
func (s *Syslog) Open(ctx context.Context, env pipe.Env) error {
	max, limit := largest("max_message", s.MaxMessage, env)
	in, err := newSyslogIntake(s.Format, s.Year, s.Timezone, max)
	if err != nil {
		return fmt.Errorf("timezone: %w", err)
	}
	s.sockets.stream = streamServer{framing: s.Framing, maxFrame: max, limit: limit, maxConnections: s.MaxConnections,
		idleTimeout: s.IdleTimeout.D(), log: env.Log, idle: idle(env), intake: in}
	s.sockets.packet = packetServer{max: max, limit: limit, log: env.Log, idle: idle(env), intake: in}
	switch {
	case s.file():
		return s.sockets.listen(s.Listen, s.Mode, s.Protocol == "unix_datagram", s.ReadBuffer)
	case s.Protocol == "tcp":
		return s.sockets.stream.listenTCP(ctx, s.Listen, s.TLS)
	}
	s.conn, err = s.sockets.packet.listenUDP(ctx, s.Listen, s.ReadBuffer, &s.drops)
	return err
}

// Addr returns the address it listens at, once open.
func (s *Syslog) Addr() net.Addr {
	if s.conn != nil {
		return s.conn.LocalAddr()
	}
	return s.sockets.stream.listener.Addr()
}

// Read implements pipe.Source.
func (s *Syslog) Read(ctx context.Context, b *pipe.Batch) error {
	if s.conn != nil {
		s.drops.sometimes()
	}
	return s.sockets.read(ctx, b)
}

// Drain stops accepting and reading.
func (s *Syslog) Drain() {
	s.drops.look()
	s.sockets.drain()
}

// Close ends the connections and removes the socket file.
func (s *Syslog) Close(context.Context) error {
	s.sockets.close()
	return nil
}

// Rejected returns how many datagrams the kernel dropped over udp, where it tells.
func (s *Syslog) Rejected() map[string]int64 { return s.drops.rejected() }
