package stages

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/subprocess"
)

func init() { pipe.RegisterStage("exec", func() pipe.Stage { return &Exec{} }) }

// Exec gives the events to a command that keeps running and takes its answers. It
// loses nothing by itself. When the command ends or breaks the protocol it is
// started again and asked again about the events that it has not answered, so it
// can see an event twice; an event at which it ends twice fails. A slow command
// holds up the pipeline: nothing is queued but the pipes to it. With workers each
// has a command of its own.
//
// The command gets each event as a line of JSON on its standard input (a line of
// text as {"message": "…"}) and must answer each with one line on its standard
// output, in order, and flush it: an object is the event from now on, null ends it
// (filtered), a list of objects is what becomes of it, and a text fails it with
// this text as the reason. What it writes to standard error goes to the log. A
// command that hangs is ended by the timeout of the stage, and only by that.
//
// Example:
//
//	type: exec
//	command: [python3, -u, enrich.py]
//	timeout: 5s
type Exec struct {
	// Command is the program and its arguments. No shell reads them.
	Command []string `yaml:"command" required:"true"`

	// Dir is the directory that the command runs in. Empty, the default, means
	// that of pipectl.
	Dir string `yaml:"dir"`

	// Env are environment variables of the command, beside those of pipectl.
	Env map[string]string `yaml:"env"`

	log     *slog.Logger
	maxLine int

	mu     sync.Mutex
	idle   []*partner
	closed bool
}

// Validate checks the command.
func (x *Exec) Validate() error {
	if hint, err := subprocess.CheckArgs(x.Command); err != nil {
		return &pipe.FieldError{Field: "command", Err: err, Hint: hint}
	}
	return nil
}

// CallsOut says that the command may be retried and guarded like a sink.
func (x *Exec) CallsOut() {}

// Open starts the command once, so that one that cannot start is found at once.
func (x *Exec) Open(_ context.Context, env pipe.Env) error {
	x.log, x.maxLine = env.Log, env.MaxEventBytes
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	p, err := x.start()
	if err != nil {
		return err
	}
	x.idle = append(x.idle, p)
	return nil
}

// Close lets the commands end by themselves at the end of their input, and stops
// them after two seconds.
func (x *Exec) Close(ctx context.Context) error {
	x.mu.Lock()
	idle := x.idle
	x.idle, x.closed = nil, true
	x.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range idle {
		wg.Go(func() { p.end(ctx) })
	}
	wg.Wait()
	return nil
}

// attempts is how often a command may end at an event before the event fails.
const attempts = 2

// Process asks a command about the events.
func (x *Exec) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	for tries := 0; len(in) > 0; {
		p, err := x.take()
		if err != nil {
			return err
		}
		n, err := p.ask(ctx, in, out)
		if err == nil {
			x.giveBack(p)
			return nil
		}
		p.Stop(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if in = in[n:]; n > 0 {
			tries = 0
		}
		if tries++; tries == attempts {
			out.Fail(in[0], poison(fmt.Errorf("the command gave no answer twice: %w", err)))
			in, tries = in[1:], 0
			continue
		}
		x.log.Warn("the command is started again", "error", err, "unanswered", len(in))
	}
	return nil
}

// take returns a command that has nothing to do, or starts one.
func (x *Exec) take() (*partner, error) {
	x.mu.Lock()
	if n := len(x.idle); n > 0 {
		p := x.idle[n-1]
		x.idle = x.idle[:n-1]
		x.mu.Unlock()
		return p, nil
	}
	x.mu.Unlock()
	return x.start()
}

func (x *Exec) giveBack(p *partner) {
	x.mu.Lock()
	if !x.closed {
		x.idle, p = append(x.idle, p), nil
	}
	x.mu.Unlock()
	if p != nil { // closed meanwhile: this was a call that nobody waited for
		p.Stop(context.Background())
	}
}

func (x *Exec) start() (*partner, error) {
	p, err := subprocess.Start(subprocess.Command{Args: x.Command, Dir: x.Dir, Env: x.Env, Input: true, Output: true, Log: x.log})
	if err != nil {
		return nil, err
	}
	return &partner{Process: p, answers: bufio.NewReaderSize(p.Out, 64<<10), maxLine: x.maxLine}, nil
}

// partner is a command that answers.
type partner struct {
	*subprocess.Process
	answers *bufio.Reader
	line    []byte
	maxLine int
}

// end closes the input and waits for the command, for the grace of Stop.
func (p *partner) end(ctx context.Context) {
	p.In.Close()
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-p.Done():
	case <-timer.C:
	case <-ctx.Done():
	}
	p.Stop(ctx)
}

// ask sends the events and decides about each with its answer. It returns how many
// it decided about; with an error the command cannot be used any more.
func (p *partner) ask(ctx context.Context, in []*pipe.Event, out *pipe.Out) (n int, err error) {
	questions := out.Scratch()
	for _, e := range in {
		questions = append(e.Body.AppendJSON(questions), '\n')
	}
	interrupt := context.AfterFunc(ctx, p.interrupt)
	sent := make(chan error, 1)
	go func() {
		_, err := p.In.Write(questions)
		sent <- err
	}()
	for ; n < len(in) && err == nil; n++ {
		if err = p.answer(in[n], out); err != nil {
			break
		}
	}
	if !interrupt() || err != nil {
		p.interrupt() // the write, which nobody reads
	}
	if unsent := <-sent; err == nil {
		err = unsent
	}
	out.KeepScratch(questions)
	if ctx.Err() != nil && err != nil {
		return n, ctx.Err()
	}
	return n, err
}

// interrupt ends reads and writes that wait.
func (p *partner) interrupt() {
	past := time.Now().Add(-time.Second)
	_ = p.In.SetWriteDeadline(past) // both fail on closed pipes only
	_ = p.Out.SetReadDeadline(past)
}

// answer reads the next answer and does what it says with e.
func (p *partner) answer(e *pipe.Event, out *pipe.Out) error {
	line, err := p.readLine()
	if err != nil {
		return err
	}
	return decide(e, out, bytes.TrimSpace(line))
}

// readLine reads an answer, which is valid until the next.
func (p *partner) readLine() ([]byte, error) {
	p.line = p.line[:0]
	for {
		part, err := p.answers.ReadSlice('\n')
		p.line = append(p.line, part...)
		switch {
		case err == nil:
			return p.line, nil
		case errors.Is(err, bufio.ErrBufferFull):
			if p.maxLine > 0 && len(p.line) > p.maxLine {
				return nil, fmt.Errorf("the command's answer is longer than limits.max_event_bytes, %d", p.maxLine)
			}
		case errors.Is(err, io.EOF):
			return nil, p.gone()
		default:
			return nil, err
		}
	}
}

// gone says how the command ended.
func (p *partner) gone() error {
	select {
	case <-p.Done():
		if err := p.Err(); err != nil {
			return err
		}
	case <-time.After(time.Second): // it has closed its output and goes on
	}
	return errors.New("the command has ended its output")
}
