package sinks

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/syslog"
)

func init() {
	pipe.RegisterSink("syslog", func() pipe.Sink {
		return &Syslog{
			Protocol:    "udp",
			Format:      syslog.RFC5424,
			Facility:    "user",
			Severity:    "info",
			AppName:     "pipectl",
			Timezone:    "local",
			Framing:     codec.FramingOctetCounted,
			MaxMessage:  8 << 10,
			Connections: 1,
			KeepAlive:   pipe.Duration(15 * time.Second),
		}
	})
}

// Syslog sends each event as a syslog message.
//
// It can lose events, and repeat them over tcp and unix: syslog servers confirm
// nothing, so that an event counts as written once it is in the socket. See the
// tcp, udp and unix sinks for what happens when a server is away or slow.
//
// The parts of the message are the fields of the event that the syslog source and
// parse with format syslog make: facility, severity (names or numbers), timestamp
// (RFC 3339), hostname, app_name, proc_id, msg_id, structured_data (an object of
// objects) and message. What an event does not have comes from the options; the
// time is then when it was read, and the message of an event without that field is
// all of it as JSON. An event with a part that syslog cannot carry, such as a host
// name with a space, fails, and the error names the field: nothing is cut or
// replaced. Only times are cut, to microseconds, or seconds with rfc3164, which has
// no place for msg_id and structured_data either.
//
// Example:
//
//	type: syslog
//	protocol: tcp
//	address: logs.example:6514
//	tls: {}
type Syslog struct {
	// Protocol is udp (the default), tcp, unix for a connection to a socket file, or
	// unix_datagram for datagrams to one, such as /dev/log.
	Protocol string `yaml:"protocol" enum:"udp,tcp,unix,unix_datagram"`

	// Address is the server, as host:port; for unix and unix_datagram the path of its
	// socket file.
	Address string `yaml:"address" required:"true"`

	// Format is rfc5424 (the default), or rfc3164 for old servers.
	Format syslog.Format `yaml:"format" enum:"rfc5424,rfc3164"`

	// Facility is for events without a field facility: user by default.
	Facility string `yaml:"facility"`

	// Severity is for events without a field severity: info by default.
	Severity string `yaml:"severity"`

	// Hostname is for events without a field hostname: this machine's name by default.
	Hostname string `yaml:"hostname"`

	// AppName is for events without a field app_name: pipectl by default.
	AppName string `yaml:"app_name"`

	// Timezone is in which rfc3164 writes times: local (the default), UTC or a name
	// such as Europe/Berlin. It should be the server's.
	Timezone string `yaml:"timezone"`

	// Framing says how a server of tcp and unix knows where a message ends:
	// octet_counted (the default) as RFC 6587 wants it, or lines for those that do
	// not know that. A message with a line break cannot be sent as a line: it fails.
	Framing codec.Framing `yaml:"framing" enum:"octet_counted,lines"`

	// MaxMessage is the largest message, 8KiB by default, which is what most servers
	// take; a larger one fails. Over udp the most is 65507 bytes.
	MaxMessage pipe.Size `yaml:"max_message" min:"480"`

	// Connections is how many connections are kept over tcp and unix, 1 by default.
	Connections int `yaml:"connections" min:"1" max:"256"`

	// KeepAlive is how long a tcp connection may be silent before the system asks
	// whether the server is still there; 15s by default, 0 for never.
	KeepAlive pipe.Duration `yaml:"keep_alive"`

	// TLS makes it speak TLS, over tcp.
	TLS *TLS `yaml:"tls"`

	stream streamSink
	packet packetSink
}

// Validate checks what the rules of single fields do not.
func (s *Syslog) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) { errs = append(errs, pipe.Fieldf(field, format, args...)) }
	if s.Protocol == "udp" || s.Protocol == "tcp" {
		errs = append(errs, validateAddress(s.Address)...)
	}
	if !s.connects() && s.Framing != codec.FramingOctetCounted {
		bad("framing", "a datagram is a message: framing is for tcp and unix")
	}
	if !s.connects() && s.Connections != 1 {
		bad("connections", "datagrams are written through one socket")
	}
	if s.TLS != nil && s.Protocol != "tcp" {
		bad("tls", "needs protocol tcp, got %s", s.Protocol)
	}
	if s.Protocol == "udp" && s.MaxMessage > maxUDP {
		bad("max_message", "must be at most %d over udp, got %d", maxUDP, int64(s.MaxMessage))
	}
	if s.MaxMessage > math.MaxInt32 {
		bad("max_message", "must be below 2GiB, got %s", s.MaxMessage)
	}
	if s.KeepAlive < 0 {
		bad("keep_alive", "must not be below 0")
	}
	if _, ok := syslog.FacilityOf(s.Facility); !ok {
		errs = append(errs, &pipe.FieldError{Field: "facility", Err: errors.New("unknown facility " + s.Facility), Hint: "one of " + syslog.FacilityNames()})
	}
	if _, ok := syslog.SeverityOf(s.Severity); !ok {
		errs = append(errs, &pipe.FieldError{Field: "severity", Err: errors.New("unknown severity " + s.Severity), Hint: "one of " + syslog.SeverityNames()})
	}
	word := func(field, w string, most int) {
		if len(w) > most || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			bad(field, "%q must be at most %d ASCII characters without spaces", w, most)
		}
	}
	word("hostname", s.Hostname, 255)
	word("app_name", s.AppName, 48)
	if _, err := syslog.Zone(s.Timezone); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// connects reports whether it writes to connections.
func (s *Syslog) connects() bool { return s.Protocol == "tcp" || s.Protocol == "unix" }

// Open prepares the sink. It does not connect yet.
func (s *Syslog) Open(_ context.Context, env pipe.Env) error {
	f, err := s.formatter()
	if err != nil {
		return err
	}
	if !s.connects() {
		network := map[string]string{"udp": "udp", "unix_datagram": "unixgram"}[s.Protocol]
		s.packet = packetSink{network: network, address: s.Address, max: int(s.MaxMessage), limit: "max_message", meter: env.Meter, encode: f.Append}
		return nil
	}
	s.stream = streamSink{network: s.Protocol, address: s.Address, framing: s.Framing, keepAlive: keepAlive(s.KeepAlive), meter: env.Meter,
		encoder: func() encode { return s.bounded(f) }}
	if s.Protocol == "tcp" {
		if s.stream.secure, err = secureFor(s.TLS, s.Address); err != nil {
			return err
		}
	}
	s.stream.open(s.Connections)
	return nil
}

// formatter is how events are written, with the options for what they lack.
func (s *Syslog) formatter() (*syslog.Formatter, error) {
	f := &syslog.Formatter{Format: s.Format, Hostname: s.Hostname, AppName: s.AppName}
	f.Facility, _ = syslog.FacilityOf(s.Facility)
	f.Severity, _ = syslog.SeverityOf(s.Severity)
	var err error
	if f.Zone, err = syslog.Zone(s.Timezone); err != nil {
		return nil, err
	}
	if f.Hostname == "" {
		f.Hostname, _ = os.Hostname() // without one it is "-"
	}
	return f, nil
}

// bounded writes messages of at most MaxMessage bytes.
func (s *Syslog) bounded(f *syslog.Formatter) encode {
	return func(dst []byte, e *pipe.Event) ([]byte, error) {
		out, err := f.Append(dst, e)
		if n := len(out) - len(dst); err == nil && n > int(s.MaxMessage) {
			return dst, messageTooLarge(n, "max_message", int(s.MaxMessage))
		}
		return out, err
	}
}

// Write sends each event of in as a message.
func (s *Syslog) Write(ctx context.Context, in []*pipe.Event) error {
	if s.connects() {
		return s.stream.write(ctx, in)
	}
	return s.packet.write(ctx, in)
}

// MaxConcurrent returns how many connections there are.
func (s *Syslog) MaxConcurrent() int { return s.Connections }

// Close closes the connections.
func (s *Syslog) Close(context.Context) error {
	s.stream.close()
	s.packet.hangUp()
	return nil
}
