package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/subprocess"
)

func init() {
	pipe.RegisterSink("exec", func() pipe.Sink { return &Exec{Codec: codec.Lines(), Mode: "batch"} })
}

// Exec writes events to the standard input of a command.
//
// In mode batch the command is run once for each batch, and the batch is confirmed
// when it exits with code 0; any other code fails the batch, which is then tried
// again, so the command may see events twice. In mode stream one command runs all
// the time, and events are confirmed when the pipe has taken them: what it has
// not read when it ends, up to 64 KiB on Linux, is lost, and a batch in the
// middle of which it ends is written again to the next one. A command that reads
// slowly holds up the pipeline. What it writes goes to the log, at most ten
// lines a second.
//
// Example:
//
//	type: exec
//	command: [psql, -c, "COPY events FROM STDIN CSV"]
//	codec: {type: csv, header: false}
//	batch: {events: 1000, interval: 1s}
//	timeout: 20s
type Exec struct {
	// Command is the program and its arguments. No shell reads them: for one write
	// [sh, -c, "a | b"].
	Command []string `yaml:"command" required:"true"`

	// Mode is batch, the default: a run for each batch; or stream: one run for
	// everything, started again when it ends.
	Mode string `yaml:"mode" enum:"batch,stream"`

	// Codec is the format. The default, lines, writes text as it is and objects as
	// one line of JSON each.
	Codec codec.Codec `yaml:"codec"`

	// Dir is the directory that the command runs in. Empty, the default, means
	// that of pipectl.
	Dir string `yaml:"dir"`

	// Env are environment variables of the command, beside those of pipectl.
	Env map[string]string `yaml:"env"`

	log     *slog.Logger
	enc     *codec.Encoder
	running *subprocess.Process
	buf     []byte
}

// Validate checks the fields.
func (x *Exec) Validate() error {
	if hint, err := subprocess.CheckArgs(x.Command); err != nil {
		return &pipe.FieldError{Field: "command", Err: err, Hint: hint}
	}
	return nil
}

// Open starts the command in mode stream, so that one that cannot start is found
// at once.
func (x *Exec) Open(_ context.Context, env pipe.Env) error {
	x.log = env.Log
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	if x.Mode != "stream" {
		return nil
	}
	return x.start()
}

func (x *Exec) start() (err error) {
	x.enc = x.Codec.NewEncoder()
	x.enc.Begin(true)
	x.running, err = subprocess.Start(subprocess.Command{Args: x.Command, Dir: x.Dir, Env: x.Env, Input: true, Log: x.log})
	return err
}

// Write gives the events to the command.
func (x *Exec) Write(ctx context.Context, in []*pipe.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if x.running == nil {
		if err := x.start(); err != nil {
			return pipe.Classed(pipe.Retryable, err)
		}
	}
	bad := x.encode(in)
	err := x.put(ctx)
	if err == nil && x.Mode == "batch" {
		err = x.finish(ctx)
	}
	if err != nil {
		x.end(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return pipe.Classed(pipe.Retryable, err)
	}
	if len(bad) > 0 {
		return &pipe.PartialError{Items: bad}
	}
	return nil
}

// encode puts the events into buf and returns those that cannot be written.
func (x *Exec) encode(in []*pipe.Event) (bad []pipe.ItemError) {
	x.buf = reuse(x.buf)
	for i, e := range in {
		var err error
		if x.buf, err = x.enc.Append(x.buf, e); err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: err})
		}
	}
	return bad
}

// put writes buf to the command. It ends with ctx.
func (x *Exec) put(ctx context.Context) error {
	input := x.running.In
	stop := context.AfterFunc(ctx, func() { _ = input.SetWriteDeadline(time.Now()) }) // it fails on a closed pipe only
	_, err := input.Write(x.buf)
	stop()
	switch {
	case errors.Is(err, syscall.EPIPE):
		return x.gone()
	case err != nil:
		return fmt.Errorf("command %s: %w", x.Command[0], cause(err))
	}
	return nil
}

// gone says how a command ended that does not read any more.
func (x *Exec) gone() error {
	select {
	case <-x.running.Done():
		if err := x.running.Err(); err != nil {
			return err
		}
	case <-time.After(time.Second): // it has closed its input and goes on
	}
	return fmt.Errorf("command %s: it does not read any more", x.Command[0])
}

// finish closes the input and waits for the end of the command.
func (x *Exec) finish(ctx context.Context) error {
	if err := x.running.In.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-x.running.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	err := x.running.Err()
	x.running = nil
	return err
}

// end stops the command.
func (x *Exec) end(ctx context.Context) {
	if x.running != nil {
		x.running.Stop(ctx)
		x.running = nil
	}
}

// Close ends the input of a command that runs all the time and waits for its end,
// until ctx ends.
func (x *Exec) Close(ctx context.Context) error {
	if x.running == nil {
		return nil
	}
	err := x.finish(ctx)
	x.end(ctx)
	if err != nil {
		return fmt.Errorf("what the command had not handled may be lost: %w", err)
	}
	return nil
}
