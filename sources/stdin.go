package sources

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSource("stdin", func() pipe.Source { return &Stdin{Codec: codec.Lines(), in: os.Stdin} })
}

// Stdin reads standard input to its end.
//
// It can lose events: what was read and not yet delivered when the process ends
// cannot be read again. While the pipeline is full it stops reading, so that a
// pipe fills up and the program before it waits.
//
// Example:
//
//	type: stdin
//	codec: ndjson
type Stdin struct {
	// Codec is the format of the input. The default is lines.
	Codec codec.Codec `yaml:"codec"`

	in     io.Reader // standard input; another one in tests
	r      *codec.Reader
	pump   *pump
	closed bool
}

// Validate checks the fields.
func (s *Stdin) Validate() error {
	return errors.Join(validateCodec(&s.Codec)...)
}

// validateCodec checks the codec field of a source.
func validateCodec(c *codec.Codec) []error {
	if err := c.ValidateRead(); err != nil {
		return below("codec", err)
	}
	return nil
}

// Traits implements pipe.Traiter.
func (s *Stdin) Traits() pipe.Traits {
	return pipe.Traits{Finite: true, Why: "stdin cannot be read again"}
}

// Open begins to read ahead, by one buffer of 64 KiB.
func (s *Stdin) Open(_ context.Context, env pipe.Env) error {
	s.pump = startPump(s.in)
	s.pump.idle = idle(env)
	s.r = s.Codec.NewReader(s.pump, env.MaxEventBytes)
	return nil
}

// Read implements pipe.Source.
func (s *Stdin) Read(ctx context.Context, b *pipe.Batch) error {
	if s.closed {
		return os.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.pump.ctx = ctx
	return s.r.Read(b)
}

// Close stops reading. A read that the system cannot interrupt, such as that of
// a terminal, is left behind until the process ends; nobody waits for it.
func (s *Stdin) Close(context.Context) error {
	s.closed = true
	if s.pump != nil {
		s.pump.stop()
	}
	return nil
}

// pump reads from a reader that cannot be interrupted, for one that can be.
// Two buffers go in a circle: one is being filled while the other is emptied.
type pump struct {
	ctx   context.Context // of the Read in progress
	idle  *pipe.Clock     // of its waits
	in    io.Reader
	full  chan []byte
	free  chan []byte
	quit  chan struct{}
	done  chan struct{} // closed when run has returned
	once  sync.Once
	err   error // why run returned; read it once done is closed
	piece []byte
	whole []byte // the buffer that piece is the rest of
}

const pumpBuffer = 64 << 10

func startPump(in io.Reader) *pump {
	p := &pump{in: in, full: make(chan []byte), free: make(chan []byte, 2), quit: make(chan struct{}), done: make(chan struct{})}
	p.free <- make([]byte, pumpBuffer)
	p.free <- make([]byte, pumpBuffer)
	go p.run()
	return p
}

func (p *pump) run() {
	defer close(p.done)
	for {
		var buf []byte
		select {
		case buf = <-p.free:
		case <-p.quit:
			return
		}
		n, err := p.in.Read(buf)
		if n == 0 {
			p.free <- buf
		} else {
			select {
			case p.full <- buf[:n]:
			case <-p.quit:
				return
			}
		}
		if err != nil {
			p.err = err
			return
		}
	}
}

// Read implements io.Reader. It returns the context's error when that ends
// while it waits; nothing is lost by that.
func (p *pump) Read(dst []byte) (int, error) {
	if len(p.piece) == 0 {
		if p.whole != nil {
			p.free <- p.whole[:cap(p.whole)]
			p.whole = nil
		}
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(dst, p.piece)
	p.piece = p.piece[n:]
	return n, nil
}

// next waits for the next buffer.
func (p *pump) next() error {
	select {
	case p.piece = <-p.full:
		p.whole = p.piece
		return nil
	default:
	}
	defer p.idle.Leave(p.idle.Enter())
	select {
	case p.piece = <-p.full:
		p.whole = p.piece
		return nil
	case <-p.done:
		return p.err
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// stop ends run, if a read in progress can be interrupted.
func (p *pump) stop() {
	p.once.Do(func() { close(p.quit) })
	if f, ok := p.in.(interface{ SetReadDeadline(time.Time) error }); ok && f.SetReadDeadline(time.Now()) == nil {
		<-p.done
	}
}
