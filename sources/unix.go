package sources

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSource("unix", func() pipe.Source {
		return &Unix{
			Socket:         socketStream,
			Framing:        codec.FramingLines,
			Codec:          codec.Lines(),
			MaxFrame:       1 << 20,
			MaxConnections: 1024,
			ReadBuffer:     0,
		}
	})
}

// Unix takes messages from programs of this machine, through a socket file.
//
// It can lose events: a program is not told what was delivered, and nothing can be
// read again. What is in the pipeline is lost when it is killed.
//
// While the pipeline is full it reads nothing: programs wait in their writes, with
// datagrams as with connections. A program that does not want to wait (as loggers
// often do not) drops then, and only it knows. Of each connection one buffer is
// read ahead, of 64 KiB, or twice its largest message if that is more; of
// datagrams, up to 1024.
//
// What is too large or cannot be decoded leaves through the failed port, and what
// comes after it goes on; only where counting makes no sense the connection is
// closed. See the tcp source. A shutdown goes as there.
//
// A socket file that was left behind is removed at the start, but only if nobody
// listens there; any other file of that name is an error. At the end the file is
// removed.
//
// Example:
//
//	type: unix
//	path: /run/pipectl/in.sock
//	mode: "0660"
type Unix struct {
	// Path is the socket file, at most 100 bytes long. Its folder must exist.
	Path string `yaml:"path" required:"true"`

	// Mode is who may connect, as the permissions of the file in octal: "0660" for
	// its owner and group. Empty, the default, leaves it to the umask of the process.
	Mode string `yaml:"mode"`

	// Socket is stream (the default), for connections; or datagram, for messages
	// whose ends the kernel keeps, such as those of a logging library.
	Socket string `yaml:"socket" enum:"stream,datagram"`

	// Framing says where a message of a connection ends: lines (the default),
	// octet_counted, length_u32 or length_u16, as for the tcp source.
	Framing codec.Framing `yaml:"framing" enum:"lines,octet_counted,length_u32,length_u16"`

	// Codec is how a message is decoded. The default, lines, makes one event of each
	// line in it. Each message is decoded on its own.
	Codec codec.Codec `yaml:"codec"`

	// MaxFrame is the largest message, 1MiB by default. limits.max_event_bytes
	// bounds it, too.
	MaxFrame pipe.Size `yaml:"max_frame" min:"1"`

	// MaxConnections is how many connections may be open, 1024 by default. More are
	// not accepted until one closes.
	MaxConnections int `yaml:"max_connections" min:"1"`

	// IdleTimeout closes a connection that has sent nothing for this long while the
	// source was waiting for it. 0, the default, lets them stay.
	IdleTimeout pipe.Duration `yaml:"idle_timeout"`

	// ReadBuffer is how much the kernel is asked to hold of datagrams that are not
	// read yet. 0, the default, leaves it at what the system gives to every socket.
	ReadBuffer pipe.Size `yaml:"read_buffer" min:"0"`

	files socketSource
}

// Validate checks what the rules of single fields do not.
func (s *Unix) Validate() error {
	errs := validateSocket("path", s.Path, s.Mode)
	if s.IdleTimeout < 0 {
		errs = append(errs, pipe.Fieldf("idle_timeout", "must not be below 0"))
	}
	if s.Socket == socketDatagram && s.Framing != codec.FramingLines {
		errs = append(errs, pipe.Fieldf("framing", "a datagram is a message: framing is for connections"))
	}
	if err := s.Codec.ValidateMessage(); err != nil {
		errs = append(errs, below("codec", err)...)
	}
	return errors.Join(errs...)
}

// Traits implements pipe.Traiter.
func (s *Unix) Traits() pipe.Traits { return pipe.Traits{Why: "a unix socket cannot be read again"} }

// Open makes the socket file and reads what comes there.
func (s *Unix) Open(_ context.Context, env pipe.Env) error {
	max, limit := largest("max_frame", s.MaxFrame, env)
	in := &intake{codec: &s.Codec, max: max}
	s.files.stream = streamServer{framing: s.Framing, maxFrame: max, limit: limit, maxConnections: s.MaxConnections,
		idleTimeout: s.IdleTimeout.D(), log: env.Log, idle: idle(env), intake: in}
	s.files.packet = packetServer{max: max, limit: limit, log: env.Log, idle: idle(env), intake: in}
	return s.files.listen(s.Path, s.Mode, s.Socket == socketDatagram, s.ReadBuffer)
}

// Read implements pipe.Source.
func (s *Unix) Read(ctx context.Context, b *pipe.Batch) error { return s.files.read(ctx, b) }

// Drain stops accepting and reading.
func (s *Unix) Drain() { s.files.drain() }

// Close ends the connections and removes the socket file.
func (s *Unix) Close(context.Context) error {
	s.files.close()
	return nil
}

// socketSource is a bound socket file with the server of one of its two kinds.
type socketSource struct {
	stream streamServer
	packet packetServer
	file   socketFile
}

// listen makes the socket file and begins to read.
func (f *socketSource) listen(path, mode string, datagram bool, buffer pipe.Size) (err error) {
	log := f.stream.log
	if datagram {
		var conn *net.UnixConn
		f.file, err = bindSocket(path, mode, true, func(name string) (err error) {
			conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
			return err
		})
		if err != nil {
			closeIf(conn)
			return err
		}
		askBuffer(conn, buffer, log)
		f.packet.start(unixSocket{conn})
	} else {
		var ln *net.UnixListener
		f.file, err = bindSocket(path, mode, false, func(name string) (err error) {
			ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
			return err
		})
		if err != nil {
			closeIf(ln)
			return err
		}
		ln.SetUnlinkOnClose(false) // it has another name now
		f.stream.start(ln)
	}
	log.Info("listening", "protocol", "unix", "address", path, "datagram", datagram)
	return nil
}

func closeIf[C interface {
	comparable
	Close() error
}](c C) {
	if c != *new(C) {
		c.Close()
	}
}

func (f *socketSource) read(ctx context.Context, b *pipe.Batch) error {
	if f.packet.socket != nil {
		return f.packet.read(ctx, b)
	}
	return f.stream.read(ctx, b)
}

func (f *socketSource) drain() {
	if f.packet.socket != nil {
		f.packet.drain()
	} else {
		f.stream.drain()
	}
}

func (f *socketSource) close() {
	f.packet.close()
	f.stream.close()
	f.file.remove()
}

// unixSocket is a datagram socket whose senders have no address, mostly.
type unixSocket struct{ *net.UnixConn }

func (u unixSocket) receive(p []byte) (int, string, error) {
	n, _, err := u.ReadFromUnix(p)
	return n, "", err
}

// nobodyListens reports whether err says that a socket file has no process, or is
// of the other kind.
func nobodyListens(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPROTOTYPE)
}
