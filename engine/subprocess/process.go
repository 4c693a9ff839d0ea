// Package subprocess runs commands whose standard input and output are pipes: of the
// components exec. What a command writes to standard error goes to the log, and
// nothing that it started outlives it.
package subprocess

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Command says what to run.
type Command struct {
	// Args are the program, looked up in PATH, and its arguments. No shell reads
	// them: for one say ["sh", "-c", "…"].
	Args []string
	// Dir is the working directory; empty means that of pipectl.
	Dir string
	// Env are variables beside those of pipectl.
	Env map[string]string
	// Input and Output say which of the pipes are wanted. Without Input the
	// command reads an empty file, without Output what it writes goes to the log.
	Input, Output bool
	// Log takes what the command writes to standard error, at most ten lines a
	// second.
	Log *slog.Logger
}

// Process is a running command.
type Process struct {
	// In and Out are the pipes, or nil. Both can be given deadlines. Whoever
	// reads Out to its end or closes In does so before Stop.
	In, Out *os.File

	cmd  *exec.Cmd
	done chan struct{} // closed when the command has ended and its output to the log with it
	err  error
	once sync.Once
}

// stderrRate bounds the lines of standard error in the log.
const stderrRate, stderrBurst = 10, 50

// Start runs a command. The error names the program.
func Start(c Command) (*Process, error) {
	p := &Process{cmd: exec.Command(c.Args[0], c.Args[1:]...), done: make(chan struct{})}
	p.cmd.Dir = c.Dir
	p.cmd.Env = os.Environ()
	for k, v := range c.Env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	ownGroup(p.cmd)
	var theirs []*os.File // closed here once the command has them
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	fail := func(err error) (*Process, error) {
		closeAll(p.In, p.Out)
		var wrapped *exec.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("command %s: %w", c.Args[0], err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	theirs, p.cmd.Stderr = append(theirs, errW), errW
	if c.Input {
		r, w, err := os.Pipe()
		if err != nil {
			errR.Close()
			return fail(err)
		}
		theirs, p.cmd.Stdin, p.In = append(theirs, r), r, w
	}
	p.cmd.Stdout = errW
	if c.Output {
		r, w, err := os.Pipe()
		if err != nil {
			errR.Close()
			return fail(err)
		}
		theirs, p.cmd.Stdout, p.Out = append(theirs, w), w, r
	}
	if err := p.cmd.Start(); err != nil {
		errR.Close()
		return fail(err)
	}
	go p.watch(errR, c.Log)
	return p, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// watch logs what the command says and waits for its end.
func (p *Process) watch(stderr *os.File, log *slog.Logger) {
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		logLines(stderr, log)
	}()
	p.err = p.cmd.Wait()
	killGroup(p.cmd) // what it started and left behind holds the pipes open
	<-logged
	stderr.Close()
	close(p.done)
}

// logLines logs lines until the end, and counts those that are too many.
func logLines(r io.Reader, log *slog.Logger) {
	limiter := rate.NewLimiter(stderrRate, stderrBurst)
	lines := bufio.NewReaderSize(r, 4<<10)
	skipped := 0
	for {
		line, more, err := lines.ReadLine() // of a longer line the first 4 KiB
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
		if text := strings.TrimSpace(string(line)); text != "" {
			switch {
			case !limiter.Allow():
				skipped++
			case skipped > 0:
				log.Info("the command says", "line", text, "skipped", skipped)
				skipped = 0
			default:
				log.Info("the command says", "line", text)
			}
		}
		if err != nil {
			return
		}
	}
}

// Done is closed when the command has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the command ended: nil for exit code 0. Call it after Done.
func (p *Process) Err() error {
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("command %s: %w", p.cmd.Args[0], p.err)
}

// stopGrace is how long a command may take to end after it was asked to.
const stopGrace = 2 * time.Second

// Stop asks the command and what it started to end (SIGTERM), kills them two
// seconds later or when ctx ends, and closes the pipes. It returns when the
// command has ended; it may be called more than once.
func (p *Process) Stop(ctx context.Context) {
	p.once.Do(func() {
		select {
		case <-p.done:
		default:
			askGroup(p.cmd)
			timer := time.NewTimer(stopGrace)
			defer timer.Stop()
			select {
			case <-p.done:
			case <-timer.C:
			case <-ctx.Done():
			}
			killGroup(p.cmd)
		}
		closeAll(p.In, p.Out)
		<-p.done
	})
}

// CheckArgs reports what is wrong with the arguments of a command, and what to
// write instead.
func CheckArgs(args []string) (hint string, err error) {
	switch {
	case len(args) == 0 || args[0] == "":
		return "such as [sort, -u]", errors.New("must name a program")
	case len(args) == 1 && strings.Contains(args[0], " ") && !strings.ContainsRune(args[0], os.PathSeparator):
		return fmt.Sprintf("write [%s], or [sh, -c, %q] where a shell is meant", strings.Join(strings.Fields(args[0]), ", "), args[0]),
			fmt.Errorf("there is no program %q: no shell takes it apart", args[0])
	}
	return "", nil
}
