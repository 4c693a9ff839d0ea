package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A world is one pipeline that is killed again and again, its input, and where
// its output arrives. Every event is a line that says which it is, so that what
// arrived can be told from what did not, from a part, and from a second copy.
type world struct {
	rng    *rand.Rand
	dir    string // working directory of the pipeline
	input  crashInput
	output crashOutput
	loses  bool // some of the output's confirmations get lost: then it is sent again

	moments moment // the first of them are those at which it is killed

	under []string // what runs the pipeline: strace with its arguments, or nothing

	runs    int
	kills   int
	torn    int // files with parts of lines
	now     *exec.Cmd
	longest int    // most events that one kill has made to come again
	story   string // of the last run: when it was killed
}

// crashInput is what a pipeline reads.
type crashInput interface {
	// begin is called before each run.
	begin(w *world) error
	// check compares the input's obligations with what has arrived. It is called
	// when no process runs.
	check(w *world, was, is arrivals) error
	// complete waits until everything was taken, while a process runs.
	complete(w *world) error
}

// crashOutput is where a pipeline writes.
type crashOutput interface {
	// begin is called before each run; what it returns is added to the command line.
	begin(run int) (args []string, err error)
	// arrived returns what had arrived before the last run, and what has by now.
	arrived() (was, is arrivals, err error)
}

// arrivals says how often each line arrived, by its number.
type arrivals []int

// add counts a line. It is an error if nobody ever wrote it.
func (t arrivals) add(line string) error {
	var n int
	if _, err := fmt.Sscanf(line, `{"n":%d,`, &n); err != nil || n < 0 || n >= len(t) || line != crashLine(n) {
		return fmt.Errorf("a line that is in no input: %.200q", line)
	}
	t[n]++
	return nil
}

// crashLine is the line of number n. No part of it is a line.
func crashLine(n int) string {
	return fmt.Sprintf(`{"n":%d,"pad":%q,"end":%d}`, n, strings.Repeat("x", n*7919%300), n)
}

// moment is when a process is killed.
type moment int

const (
	whileStarting moment = iota
	whileFlowing
	whileDraining // after SIGTERM
	whileSaving   // while the checkpoint is written: only where there is one
)

func (m moment) String() string {
	return [...]string{"starting", "flowing", "draining", "saving"}[m]
}

// crash runs the pipeline and kills it at some moment. It counts as a kill unless
// the pipeline was through before.
func (w *world) crash() error {
	changes, err := fsnotify.NewBufferedWatcher(1000)
	if err != nil {
		return err
	}
	defer changes.Close()
	if err := changes.Add(w.dir); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	if err := w.awaitMoment(moment(w.rng.IntN(int(w.moments))), changes.Events); err != nil {
		return err
	}
	w.now.Process.Kill()
	if err := w.ended(); err != nil {
		return err
	}
	return w.check()
}

// start begins a run.
func (w *world) start(args ...string) error {
	w.runs++
	more, err := w.output.begin(w.runs)
	if err = errors.Join(err, w.input.begin(w)); err != nil {
		return fmt.Errorf("before run %d: %w", w.runs, err)
	}
	log, err := os.Create(filepath.Join(w.dir, "run.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args = slices.Concat(w.under, []string{"pipectl", "run", "pipeline.yaml", "--no-live"}, more, args)
	w.now = exec.Command(args[0], args[1:]...)
	w.now.Dir, w.now.Stdout, w.now.Stderr = w.dir, log, log
	return w.now.Start()
}

// awaitMoment returns when the process is to be killed.
func (w *world) awaitMoment(m moment, changes <-chan fsnotify.Event) error {
	between := func(from, to time.Duration) {
		d := from + time.Duration(w.rng.Int64N(int64(to-from)))
		w.story += fmt.Sprintf(" %v", d)
		time.Sleep(d)
	}
	w.story = m.String()
	switch m {
	case whileStarting:
		between(0, 40*time.Millisecond)
	case whileFlowing:
		between(40*time.Millisecond, 700*time.Millisecond)
	case whileSaving:
		w.awaitSave(changes)
	case whileDraining:
		between(40*time.Millisecond, 400*time.Millisecond)
		if err := w.now.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		between(0, 15*time.Millisecond)
	}
	return nil
}

// awaitSave waits until the second new checkpoint is begun; the first is that of
// the start. What is written of it at our return is up to chance.
func (w *world) awaitSave(begun <-chan fsnotify.Event) {
	timeout := time.After(1500 * time.Millisecond)
	for n := 0; n < 2; {
		select {
		case e := <-begun:
			if e.Has(fsnotify.Create) && filepath.Base(e.Name) == "state.tmp" {
				n++
			}
		case <-timeout:
			return
		}
	}
	time.Sleep(time.Duration(w.rng.Int64N(int64(500 * time.Microsecond))))
}

// ended waits for the process, which was killed or has drained.
func (w *world) ended() error {
	w.now.Wait()
	log, _ := os.ReadFile(filepath.Join(w.dir, "run.log"))
	switch status := w.now.ProcessState.Sys().(syscall.WaitStatus); {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		w.kills++
	case status.Signaled() && status.Signal() == syscall.SIGTERM && !begun(log):
	case status.ExitStatus() != 0:
		return fmt.Errorf("run %d (%s): exit code %d\n%s", w.runs, w.story, status.ExitStatus(), log)
	}
	return nil
}

// begun reports whether the log is of a pipeline that has started. Before that
// SIGTERM ends the process as any other: nothing is open yet.
func begun(log []byte) bool { return bytes.Contains(log, []byte("pipeline starts")) }

// check holds what has arrived against what must have.
func (w *world) check() error {
	was, is, err := w.output.arrived()
	if err == nil {
		err = w.input.check(w, was, is)
	}
	if err != nil {
		return fmt.Errorf("run %d (%s): %w", w.runs, w.story, err)
	}
	return nil
}

// finish runs the pipeline to its end: now everything must arrive.
func (w *world) finish(args ...string) error {
	w.story = "to its end"
	if err := w.start(args...); err != nil {
		return err
	}
	if err := w.input.complete(w); err != nil {
		w.now.Process.Kill()
		w.now.Wait()
		log, _ := os.ReadFile(filepath.Join(w.dir, "run.log"))
		return fmt.Errorf("the last run: %w\n%s", err, log)
	}
	kills := w.kills
	if err := w.ended(); err != nil {
		return err
	}
	if w.kills != kills {
		return errors.New("somebody else killed the last run")
	}
	return w.check()
}

// terminate ends the process as a supervisor does, once it has begun.
func (w *world) terminate() error {
	for range 1000 {
		if log, err := os.ReadFile(filepath.Join(w.dir, "run.log")); err != nil || begun(log) {
			return errors.Join(err, w.now.Process.Signal(syscall.SIGTERM))
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the pipeline did not start within 10 s")
}

// again returns how many lines arrived that had arrived before.
func again(was, is arrivals) (n int) {
	for i := range is {
		if was[i] > 0 && is[i] > was[i] {
			n++
		}
	}
	return n
}
