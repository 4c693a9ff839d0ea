package sources

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSource("udp", func() pipe.Source {
		return &UDP{Listen: "127.0.0.1:9000", Codec: codec.Lines(), MaxDatagram: maxUDP, ReadBuffer: 4 << 20}
	})
}

// maxUDP is the largest payload of a UDP datagram over IPv4.
const maxUDP = 65507

// UDP takes messages from datagrams.
//
// It loses events: nobody is told whether a datagram arrived, and nothing can be
// read again. While the pipeline is full nothing is taken from the kernel, whose
// buffer fills; then it drops what arrives. On Linux these drops are counted, as
// rejected with kernel_drop, and the log says so; on other systems their number is
// unknown, which the log says once. Drops on the way here are counted nowhere.
//
// A dropping policy behind it (drop-oldest) loses no less, but one can choose what.
// Raise read_buffer for bursts.
//
// Up to 1024 datagrams are read ahead. At a shutdown the socket is closed at once;
// what was read ahead is handed on while the pipeline takes it.
//
// A datagram that is too large or cannot be decoded leaves through the failed port.
// The address of the sender is in the metadata of each event, as peer; anybody can
// send from any address.
//
// Example:
//
//	type: udp
//	listen: 0.0.0.0:8125
//	read_buffer: 8MiB
type UDP struct {
	// Listen is the address and port to listen at, such as 0.0.0.0:9000 for every
	// interface. The default, 127.0.0.1:9000, can be reached from this machine only.
	// Port 0 takes any free port.
	Listen string `yaml:"listen"`

	// Codec is how a datagram is decoded. The default, lines, makes one event of each
	// line in it; raw makes one of the datagram.
	Codec codec.Codec `yaml:"codec"`

	// MaxDatagram is the largest datagram, 65507 bytes by default, which is all that
	// UDP allows. Buffers are four times as large: lower it to save memory.
	MaxDatagram pipe.Size `yaml:"max_datagram" min:"1"`

	// ReadBuffer is how much the kernel is asked to hold of what is not read yet,
	// 4MiB by default. When it gives less, the log says what it gave; on Linux
	// net.core.rmem_max is the most that anybody gets. 0 leaves it at what the system
	// gives to every socket.
	ReadBuffer pipe.Size `yaml:"read_buffer" min:"0"`

	server packetServer
	conn   *net.UDPConn
	drops  dropCount
}

// Validate checks what the rules of single fields do not.
func (s *UDP) Validate() error {
	errs := append(validateListen(s.Listen), validateDatagram("max_datagram", s.MaxDatagram)...)
	if err := s.Codec.ValidateMessage(); err != nil {
		errs = append(errs, below("codec", err)...)
	}
	return errors.Join(errs...)
}

func validateDatagram(field string, size pipe.Size) []error {
	if size > maxUDP {
		return []error{pipe.Fieldf(field, "must be at most %d, the most that UDP allows, got %d", maxUDP, int64(size))}
	}
	return nil
}

// Traits says that senders cannot be slowed down.
func (s *UDP) Traits() pipe.Traits {
	return pipe.Traits{Unpaused: true, Why: "udp datagrams cannot be read again"}
}

// Open binds the port.
func (s *UDP) Open(ctx context.Context, env pipe.Env) error {
	max, limit := largest("max_datagram", s.MaxDatagram, env)
	s.server = packetServer{max: max, limit: limit, log: env.Log, idle: idle(env), intake: &intake{codec: &s.Codec, max: max}}
	var err error
	s.conn, err = s.server.listenUDP(ctx, s.Listen, s.ReadBuffer, &s.drops)
	return err
}

// listenUDP binds an address, prepares the socket and begins to read it.
func (s *packetServer) listenUDP(ctx context.Context, address string, buffer pipe.Size, drops *dropCount) (*net.UDPConn, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, listenError(address, err)
	}
	conn := pc.(*net.UDPConn)
	askBuffer(conn, buffer, s.log)
	*drops = dropCount{conn: conn, log: s.log}
	drops.look()
	s.start(&udpSocket{UDPConn: conn})
	s.log.Info("listening", "protocol", "udp", "address", conn.LocalAddr().String())
	return conn, nil
}

// askBuffer asks for a receive buffer and says when the kernel gave less.
func askBuffer(conn bufferedConn, want pipe.Size, log *slog.Logger) {
	if want == 0 {
		return
	}
	if err := conn.SetReadBuffer(int(want)); err != nil {
		log.Warn("read_buffer cannot be set", "read_buffer", want.String(), "error", err)
		return
	}
	got, known := receiveBuffer(conn)
	if known && got < int64(want) {
		log.Warn("the kernel gave a smaller receive buffer than read_buffer: bursts are lost sooner", "read_buffer", want.String(),
			"given", pipe.Size(got).String(), "remedy", "raise net.core.rmem_max")
	}
}

// udpSocket remembers the text of the last sender's address: most datagrams come
// from it again.
type udpSocket struct {
	*net.UDPConn
	last netip.AddrPort
	text string
}

func (u *udpSocket) receive(p []byte) (int, string, error) {
	n, from, err := u.ReadFromUDPAddrPort(p)
	if from != u.last {
		u.last = from
		u.text = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String()
	}
	return n, u.text, err
}

// Addr returns the address it listens at, once open.
func (s *UDP) Addr() net.Addr { return s.conn.LocalAddr() }

// Read implements pipe.Source.
func (s *UDP) Read(ctx context.Context, b *pipe.Batch) error {
	s.drops.sometimes()
	return s.server.read(ctx, b)
}

// Drain closes the socket.
func (s *UDP) Drain() {
	s.drops.look() // for the last time
	s.server.drain()
}

// Close ends the reading.
func (s *UDP) Close(context.Context) error {
	s.server.close()
	return nil
}

// Rejected returns how many datagrams the kernel dropped, where it tells.
func (s *UDP) Rejected() map[string]int64 { return s.drops.rejected() }

// dropCount counts the datagrams that the kernel dropped because a socket's
// buffer was full.
type dropCount struct {
	conn *net.UDPConn
	log  *slog.Logger

	mu      sync.Mutex // guards what follows
	told    bool       // the kernel has told it once
	unknown bool       // it does not
	last    uint32     // as the kernel counts, which begins again after 2^32
	total   int64
	looked  time.Time
	warned  time.Time
}

const (
	dropsLookEvery = time.Second
	dropsWarnEvery = time.Minute
)

// sometimes looks if the last time was a while ago.
func (d *dropCount) sometimes() {
	d.mu.Lock()
	due := time.Since(d.looked) >= dropsLookEvery
	d.mu.Unlock()
	if due {
		d.look()
	}
}

// look asks the kernel for its count, and warns when it has grown, once a minute.
func (d *dropCount) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unknown || d.conn == nil {
		return
	}
	d.looked = time.Now()
	now, ok := kernelDrops(d.conn)
	if !ok {
		if !d.told { // else it is closed
			d.unknown = true
			d.log.Info("this system does not tell how many datagrams its kernel drops")
		}
		return
	}
	d.told = true
	grown := now - d.last // also right when the kernel's count began again
	d.last = now
	if grown == 0 {
		return
	}
	d.total += int64(grown)
	if time.Since(d.warned) >= dropsWarnEvery {
		d.warned = d.looked
		d.log.Warn("the kernel dropped datagrams: the pipeline takes them more slowly than they come", "dropped", d.total)
	}
}

// rejected returns the count; nil when nothing is known.
func (d *dropCount) rejected() map[string]int64 {
	d.look()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unknown || d.conn == nil {
		return nil
	}
	return map[string]int64{"kernel_drop": d.total}
}
