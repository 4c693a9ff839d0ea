package sources

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/subprocess"
)

func init() {
	pipe.RegisterSource("exec", func() pipe.Source { return &Exec{Codec: codec.Lines(), Restart: "never"} })
}

// Exec runs a command and takes what it writes to standard output as events.
//
// It can lose events: what the command wrote cannot be read again, so what is in
// flight at a forced end is lost, and with a restart whatever the command itself
// forgets. While the pipeline is full it stops reading, and the command waits as
// soon as the pipe between them, 64 KiB on Linux, and one buffer of 64 KiB are
// full. What the command writes to standard error goes to the log, at most ten
// lines a second. When the pipeline ends the command and all that it started get
// SIGTERM, and SIGKILL two seconds later.
//
// Example:
//
//	type: exec
//	command: [vmstat, "-n", "5"]
//	restart: on_failure
type Exec struct {
	// Command is the program and its arguments. No shell reads them: for one write
	// [sh, -c, "a | b"].
	Command []string `yaml:"command" required:"true"`

	// Codec is the format of the output. The default is lines.
	Codec codec.Codec `yaml:"codec"`

	// Restart says what happens when the command ends: never, the default, ends
	// the input with it, and an exit code other than 0 ends the pipeline with an
	// error; on_failure starts it again after such a code; always starts it again
	// in any case. It is started again after a second, then after two, and so on up to a
	// minute; a run of over a minute begins anew.
	Restart string `yaml:"restart" enum:"never,on_failure,always"`

	// Dir is the directory that the command runs in. Empty, the default, means
	// that of pipectl.
	Dir string `yaml:"dir"`

	// Env are environment variables of the command, beside those of pipectl.
	Env map[string]string `yaml:"env"`

	env     pipe.Env
	running *subprocess.Process
	runs    int // how many runs have begun
	began   time.Time
	ran     time.Duration // how long the last run took
	pump    *pump
	r       *codec.Reader
	backoff subprocess.Backoff
	over    error // why nothing more comes
	closed  bool
}

// Validate checks the fields.
func (x *Exec) Validate() error {
	errs := validateCodec(&x.Codec)
	if hint, err := subprocess.CheckArgs(x.Command); err != nil {
		errs = append(errs, &pipe.FieldError{Field: "command", Err: err, Hint: hint})
	}
	return errors.Join(errs...)
}

// Traits implements pipe.Traiter.
func (x *Exec) Traits() pipe.Traits {
	return pipe.Traits{Finite: x.Restart == "never", Why: "what a command wrote cannot be read again"}
}

// Open starts the command.
func (x *Exec) Open(_ context.Context, env pipe.Env) error {
	x.env = env
	if x.env.Log == nil {
		x.env.Log = slog.New(slog.DiscardHandler)
	}
	return x.start()
}

func (x *Exec) start() error {
	p, err := subprocess.Start(subprocess.Command{Args: x.Command, Dir: x.Dir, Env: x.Env, Output: true, Log: x.env.Log})
	if err != nil {
		return err
	}
	x.running, x.began = p, time.Now()
	x.runs++
	x.pump = startPump(p.Out)
	x.pump.idle = idle(x.env)
	x.r = x.Codec.NewReader(x.pump, x.env.MaxEventBytes)
	if x.runs > 1 {
		x.r.Partition = "run " + strconv.Itoa(x.runs)
	}
	return nil
}

// Read implements pipe.Source.
func (x *Exec) Read(ctx context.Context, b *pipe.Batch) error {
	if x.closed {
		return os.ErrClosed
	}
	for had := b.Len(); ; {
		if x.over != nil {
			return x.over
		}
		if x.running == nil {
			if err := x.again(ctx); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		x.pump.ctx = ctx
		if err := x.r.Read(b); !errors.Is(err, io.EOF) {
			return err
		}
		if err := x.ended(ctx); err != nil || b.Len() > had {
			return err
		}
	}
}

// ended waits for a command whose output has ended. io.EOF ends the source, nil
// means that the command is to be started again.
func (x *Exec) ended(ctx context.Context) error {
	select {
	case <-x.running.Done():
	case <-ctx.Done():
		return ctx.Err() // the next Read comes here again
	}
	err := x.running.Err()
	x.release(ctx)
	switch {
	case x.Restart == "always", x.Restart == "on_failure" && err != nil:
		x.env.Log.Warn("the command has ended and will be started again", "error", err, "after", x.ran.Round(time.Millisecond))
		return nil
	case err == nil:
		err = io.EOF
	}
	x.over = err
	return err
}

// release gives back what a run holds.
func (x *Exec) release(ctx context.Context) {
	x.ran = time.Since(x.began)
	x.pump.stop()
	x.running.Stop(ctx)
	x.running = nil
}

// again waits and starts the command once more. A start that fails counts as a
// run that failed.
func (x *Exec) again(ctx context.Context) error {
	for {
		if err := x.wait(ctx); err != nil {
			return err
		}
		err := x.start()
		if err == nil {
			return nil
		}
		x.ran = 0
		x.env.Log.Warn("the command cannot be started and will be tried again", "error", err)
	}
}

func (x *Exec) wait(ctx context.Context) error {
	clock := idle(x.env)
	defer clock.Leave(clock.Enter())
	return x.backoff.Wait(ctx, x.ran)
}

// Close stops the command.
func (x *Exec) Close(ctx context.Context) error {
	x.closed = true
	if x.running != nil {
		x.release(ctx)
	}
	return nil
}
