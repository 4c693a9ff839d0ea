package sources

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// rotator writes numbered lines to a file and rotates it now and then, like a
// server with logrotate beside it.
type rotator struct {
	t    testing.TB
	path string
	rng  *rand.Rand
	next int
	gap  func(file int) // called before a rotation; says when it may happen
}

func (w *rotator) run(files int) {
	var old *os.File
	for file := range files {
		f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			w.t.Error(err)
			return
		}
		for range 1 + w.rng.IntN(50) {
			w.burst(f)
			if old != nil && w.rng.IntN(4) == 0 {
				w.burst(old) // a writer that has not noticed
			}
			time.Sleep(time.Duration(w.rng.IntN(300)) * time.Microsecond)
		}
		if old != nil {
			old.Close()
		}
		old = f
		w.gap(file)
		if file < files-1 {
			w.shift()
		}
	}
	old.Close()
}

// burst writes some lines, in pieces that do not care for line breaks.
func (w *rotator) burst(f *os.File) {
	var text strings.Builder
	for range 1 + w.rng.IntN(30) {
		fmt.Fprintf(&text, "line %d %s\n", w.next, strings.Repeat("x", w.rng.IntN(200)))
		w.next++
	}
	rest := text.String()
	for len(rest) > 0 {
		n := 1 + w.rng.IntN(len(rest))
		if _, err := io.WriteString(f, rest[:n]); err != nil {
			w.t.Error(err)
		}
		rest = rest[n:]
	}
}

func (w *rotator) shift() {
	for i := 30; i > 0; i-- {
		os.Rename(fmt.Sprintf("%s.%d", w.path, i), fmt.Sprintf("%s.%d", w.path, i+1))
	}
	os.Rename(w.path, w.path+".1")
}

// tally counts how often each line came.
type tally struct {
	mu    sync.Mutex
	count map[string]int
	files map[string]bool
	news  *sync.Cond
}

func newTally() *tally {
	c := &tally{count: map[string]int{}, files: map[string]bool{}}
	c.news = sync.NewCond(&c.mu)
	return c
}

func (c *tally) add(all []pipetest.Pulled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range all {
		var n int
		fmt.Sscanf(e.Text, "line %d", &n)
		c.count[fmt.Sprint(n, " ", len(e.Text))]++
		c.files[e.Partition] = true
	}
	c.news.Broadcast()
}

// sawFiles waits until lines of n different files came.
func (c *tally) sawFiles(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.files) < n {
		c.news.Wait()
	}
}

func (c *tally) lines() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.count)
}

// pull reads until stop says so, settling and committing on the way.
func pull(t testing.TB, p *pipetest.Puller, c *tally, stop func() bool) {
	t.Helper()
	for !stop() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		got, err := p.Read(ctx)
		cancel()
		c.add(got)
		p.Settle(got, pipe.Delivered)
		p.Commit()
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}

// Rotation by renaming, while lines are written as fast as they are read, loses
// and repeats nothing: neither where the paths match rotated files, nor where
// they match only the current one.
func TestRotationUnderLoad(t *testing.T) {
	for _, pattern := range []string{"app.log*", "app.log"} {
		t.Run(pattern, func(t *testing.T) {
			dir := memDir(t)
			f := newFile(filepath.Join(dir, pattern))
			f.Follow, f.PollInterval = true, pipe.Duration(20*time.Millisecond)
			f.RotateWait = pipe.Duration(500 * time.Millisecond)
			c := newTally()
			w := &rotator{t: t, path: filepath.Join(dir, "app.log"), rng: rand.New(rand.NewPCG(uint64(len(pattern)), 1)), gap: func(int) {}}
			if pattern == "app.log" { // a file that comes and goes between two looks cannot be seen by its name
				w.gap = func(file int) { c.sawFiles(file + 1) }
			}
			p := pipetest.Pull(t, f)
			var owned sync.WaitGroup
			written := make(chan struct{})
			owned.Go(func() { defer close(written); w.run(15) })
			deadline := time.Now().Add(20 * time.Second)
			pull(t, p, c, func() bool {
				select {
				case <-written:
					return c.lines() == w.next || time.Now().After(deadline)
				default:
					return false
				}
			})
			owned.Wait()
			pull(t, p, c, func() func() bool { // what would come twice comes now
				end := time.Now().Add(100 * time.Millisecond)
				return func() bool { return time.Now().After(end) }
			}())
			p.Close()
			if c.lines() != w.next {
				t.Errorf("saw %d different lines of %d", c.lines(), w.next)
			}
			for line, n := range c.count {
				if n != 1 {
					t.Errorf("line %s came %d times", line, n)
				}
			}
		})
	}
}

// The same while the reader is killed and started again: nothing is lost.
func TestRotationAndCrashes(t *testing.T) {
	dir := memDir(t)
	f := newFile(filepath.Join(dir, "app.log*"))
	f.Follow, f.PollInterval = true, pipe.Duration(20*time.Millisecond)
	f.RotateWait, f.Checkpoint = pipe.Duration(500*time.Millisecond), filepath.Join(dir, "state")
	c := newTally()
	w := &rotator{t: t, path: filepath.Join(dir, "app.log"), rng: rand.New(rand.NewPCG(9, 9)), gap: func(int) {}}
	var owned sync.WaitGroup
	written := make(chan struct{})
	owned.Go(func() { defer close(written); w.run(15) })
	deadline := time.Now().Add(20 * time.Second)
	for done := false; !done && time.Now().Before(deadline); {
		p := pipetest.Pull(t, restarted(f))
		reads := 0
		pull(t, p, c, func() bool { // only the last run may stay until all has come
			reads++
			select {
			case <-written:
				done = c.lines() == w.next
				return done || time.Now().After(deadline)
			default:
				return reads > 10
			}
		})
		p.Abandon()
	}
	owned.Wait()
	if c.lines() != w.next {
		t.Errorf("saw %d different lines of %d", c.lines(), w.next)
	}
}
