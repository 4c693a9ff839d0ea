package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// tailing is a source that follows files in dir, on the clock of a synctest bubble.
type tailing struct {
	t   *testing.T
	dir string
	f   *File
	p   *pipetest.Puller
	log bytes.Buffer
	all []pipetest.Pulled
}

// follow runs test on a source that follows paths in a directory of its own.
// Nothing is announced: everything must be found by looking.
func follow(t *testing.T, change func(*File), paths []string, test func(x *tailing)) {
	t.Helper()
	dir := memDir(t)
	synctest.Test(t, func(t *testing.T) {
		x := &tailing{t: t, dir: dir, f: newFile()}
		for _, p := range paths {
			x.f.Paths = append(x.f.Paths, x.path(p))
		}
		x.f.Follow, x.f.polling = true, true
		if change != nil {
			change(x.f)
		}
		test(x)
		if x.p != nil {
			x.p.Close()
		}
	})
}

func (x *tailing) path(name string) string { return filepath.Join(x.dir, name) }

func (x *tailing) open() {
	x.t.Helper()
	if x.p != nil { // the bubble of a test may open several, one after the other
		x.f = restarted(x.f)
	}
	env := pipetest.Env()
	env.Log = slog.New(slog.NewTextHandler(&x.log, nil))
	if err := x.f.Open(x.t.Context(), env); err != nil {
		x.t.Fatal(err)
	}
	x.p = pipetest.NewPuller(x.t, x.f)
}

func (x *tailing) write(name, content string)  { x.t.Helper(); write(x.t, x.path(name), content) }
func (x *tailing) append(name, content string) { x.t.Helper(); appendTo(x.t, x.path(name), content) }

func (x *tailing) rename(from, to string) {
	x.t.Helper()
	if err := os.Rename(x.path(from), x.path(to)); err != nil {
		x.t.Fatal(err)
	}
}

// expect reads for some seconds, and wants exactly these lines, in any order.
func (x *tailing) expect(want ...string) {
	x.t.Helper()
	x.expectWithin(3*time.Second, want...)
}

func (x *tailing) expectWithin(d time.Duration, want ...string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), d)
	defer cancel()
	var all []pipetest.Pulled
	for {
		got, err := x.p.Read(ctx)
		all = append(all, got...)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			x.t.Fatal(err)
		}
	}
	got := texts(all)
	slices.Sort(got) // between files there is no order
	slices.Sort(want)
	if !slices.Equal(got, want) {
		x.t.Errorf("got %q, want %q", got, want)
	}
	x.all = append(x.all, all...)
}

func (x *tailing) settle() {
	x.p.Settle(x.all, pipe.Delivered)
	x.all = nil
	x.p.Commit()
}

func (x *tailing) logged(want string) {
	x.t.Helper()
	if !strings.Contains(x.log.String(), want) {
		x.t.Errorf("got log %q, want %q in it", x.log.String(), want)
	}
}

func TestTailGrowingFile(t *testing.T) {
	follow(t, nil, []string{"a"}, func(x *tailing) {
		x.write("a", "1\n2")
		x.open()
		x.expect("1")
		x.expect()
		x.append("a", "3")
		x.expect()
		x.append("a", "4\r\n5\n")
		x.expect("234", "5")
		x.append("a", "\n6\n")
		x.expect("", "6")
		if got := x.all[len(x.all)-1].Origin; got != x.path("a")+":5" {
			t.Errorf("got origin %s", got)
		}
	})
}

func TestTailNewFiles(t *testing.T) {
	follow(t, nil, []string{"later", "logs/**/*.log"}, func(x *tailing) {
		x.open()
		x.logged("does not exist yet")
		x.expect()
		x.write("later", "1\n")
		x.write("logs/a.log", "2\n")
		x.write("logs/deep/er/b.log", "3\n")
		x.write("logs/c.txt", "no\n")
		x.expect("1", "2", "3")
		x.append("logs/deep/er/b.log", "4\n")
		x.expect("4")
	})
}

func TestTailRename(t *testing.T) {
	follow(t, nil, []string{"a"}, func(x *tailing) {
		x.write("a", "1\n")
		x.open()
		x.expect("1")
		x.rename("a", "a.1")
		x.append("a.1", "2\n")
		x.write("a", "3\n")
		x.expectWithin(2*time.Second, "2", "3")
		x.append("a.1", "late\n")
		x.append("a", "4\n")
		x.expectWithin(2*time.Second, "4", "late")
		x.append("a.1", "later, and without a line break")
		x.expectWithin(2 * time.Second)
		x.expectWithin(10*time.Second, "later, and without a line break")
		if n := len(x.f.follower.tails); n != 1 {
			t.Errorf("%d files are open, want only the new one", n)
		}
		x.append("a.1", "too late\n")
		x.append("a", "5\n")
		x.expect("5")
		x.settle()
		if all := x.f.book.all(); len(all) != 1 || all[0].partition != x.path("a")+"#2" {
			t.Errorf("%d files are known, want only the new one", len(all))
		}
	})
}

func TestTailRenameWithinThePattern(t *testing.T) {
	follow(t, nil, []string{"a*"}, func(x *tailing) {
		x.write("a", "1\n")
		x.open()
		x.expect("1")
		x.rename("a", "a.1")
		x.append("a.1", "2\n")
		x.write("a", "3\n")
		x.expect("3", "2")
		x.rename("a.1", "a.2")
		x.rename("a", "a.1")
		x.append("a.1", "4\n")
		x.append("a.2", "5\n")
		x.write("a", "6\n")
		x.expectWithin(20*time.Second, "6", "4", "5")
		x.append("a.2", "never too late here\n")
		x.expect("never too late here")
	})
}

func TestTailDelete(t *testing.T) {
	follow(t, nil, []string{"*"}, func(x *tailing) {
		x.write("a", "1\n")
		x.open()
		x.expect("1")
		x.append("a", "2\n3")
		os.Remove(x.path("a"))
		x.expectWithin(20*time.Second, "2", "3")
		x.write("a", "4\n")
		x.expect("4")
		if got := x.all[len(x.all)-1].Partition; got != x.path("a")+"#2" {
			t.Errorf("got partition %s", got)
		}
	})
}

func TestTailTruncate(t *testing.T) {
	f := func(name string, truncate func(x *tailing), want ...string) {
		t.Run(name, func(t *testing.T) {
			follow(t, nil, []string{"a"}, func(x *tailing) {
				x.write("a", "one\ntwo\npart")
				x.open()
				x.expect("one", "two")
				truncate(x)
				x.expect(want...)
				x.logged("truncated")
				x.append("a", "end\n")
				x.expect("end")
				last := x.all[len(x.all)-1]
				if last.Partition != x.path("a")+"#2" {
					t.Errorf("got partition %s", last.Partition)
				}
			})
		})
	}
	inPlace := func(content string) func(x *tailing) {
		return func(x *tailing) {
			if err := os.Truncate(x.path("a"), 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			x.append("a", content)
		}
	}
	f("to_nothing", inPlace(""), "part")
	f("and_shorter", inPlace("3\n"), "part", "3")
	f("and_as_long", inPlace("five\nsix\nx\n"), "part", "five", "six", "x")
	f("and_longer", inPlace("three is longer than all before\n4\n"), "part", "three is longer than all before", "4")
}

func TestTailStartAtTheEnd(t *testing.T) {
	atEnd := func(f *File) { f.Start = "end"; f.Checkpoint = filepath.Join(filepath.Dir(f.Paths[0]), "state") }
	follow(t, atEnd, []string{"a", "b*"}, func(x *tailing) {
		x.write("a", "old\nunfin")
		x.write("b.gz", gz(t, "packed\n"))
		x.open()
		x.expect("packed")
		x.append("a", "ished\nnew\n")
		x.write("b2", "all of it\n")
		x.expect("unfinished", "new", "all of it")
		x.p.Abandon() // the start counts even if nothing was settled
		x.write("b3", "came while down\n")
		x.open()
		x.expect("unfinished", "new", "packed", "all of it", "came while down")
	})
}

func TestTailCompressed(t *testing.T) {
	follow(t, nil, []string{"*"}, func(x *tailing) {
		whole := gz(t, strings.Repeat("x\n", 3), "y\n")
		first := len(gz(t, strings.Repeat("x\n", 3)))
		x.write("a.gz", whole[:2])
		x.open()
		x.expect()
		x.write("a.gz", whole[:first])
		x.expect("x", "x", "x")
		x.append("a.gz", whole[first:first+12])
		x.expect()
		x.append("a.gz", whole[first+12:])
		x.expect("y")
		x.append("a.gz", gz(t, "z\n"))
		x.expect("z")
		x.rename("a.gz", "b.gz")
		x.expect()
		os.Remove(x.path("b.gz"))
		x.expect()
		if n := len(x.f.follower.tails); n != 0 {
			t.Errorf("%d files are still followed", n)
		}
	})
}

func TestTailLinksCountOnce(t *testing.T) {
	follow(t, nil, []string{"*"}, func(x *tailing) {
		x.write("a", "1\n")
		os.Symlink(x.path("a"), x.path("link"))
		os.Link(x.path("a"), x.path("other"))
		x.open()
		x.expect("1")
		x.append("other", "2\n")
		x.expect("2")
		os.Remove(x.path("a"))
		x.append("other", "3\n")
		x.expectWithin(20*time.Second, "3")
	})
}

// A directory swapped through a link, as a mounted configuration is.
func TestTailSwappedDirectory(t *testing.T) {
	follow(t, nil, []string{"now/a"}, func(x *tailing) {
		x.write("v1/a", "1\n")
		x.write("v2/a", "2\n")
		os.Symlink("v1", x.path("now"))
		x.open()
		x.expect("1")
		os.Symlink("v2", x.path("next"))
		x.rename("next", "now")
		x.expect("2")
	})
}

func TestTailLag(t *testing.T) {
	follow(t, nil, []string{"a"}, func(x *tailing) {
		x.write("a", "1\n2\n")
		x.open()
		f := func(want int64) {
			t.Helper()
			if events, got := x.f.Lag(); got != want || events != -1 {
				t.Errorf("got lag %d events, %d bytes, want -1 and %d", events, got, want)
			}
		}
		f(4)
		x.expect("1", "2")
		f(0)
		x.append("a", "345\npart")
		x.expect("345")
		f(4)
		x.append("a", "ly\n6\n") // nobody reads: it must be seen all the same
		time.Sleep(lagEvery)
		f(9)
		x.append("a", "7\n")
		f(9) // not more than one look a second
		x.rename("a", "b")
		x.append("b", "8\n")
		x.write("a", "0\n")
		time.Sleep(lagEvery)
		f(9) // what left the paths counts as far as it was known
		x.expect("partly", "6", "7", "8", "0")
		f(0)
		x.append("a", "9\n")
		x.expect("9")
		x.append("a", "never read\n")
		time.Sleep(lagEvery)
		f(11)
		os.Truncate(x.path("a"), 0)
		time.Sleep(lagEvery)
		f(0)
		x.append("a", "never read, and longer\n")
		time.Sleep(lagEvery)
		f(19)
		os.Truncate(x.path("a"), 0)
		x.expect() // sees it while what was read is not settled
		f(0)
		x.append("a", "10\n")
		x.expect("10")
		f(0)
	})
}

// TestTailLagDoesNotBlock: a file system that hangs holds up neither Lag nor,
// beyond its time, Close.
func TestTailLagDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lagLook{going: make(chan struct{})} // one that is never over
		began := time.Now()
		l.begin(nil)
		if took := time.Since(began); took != lagWait {
			t.Errorf("waited %v, want %v", took, lagWait)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if l.close(ctx); time.Since(began) != lagWait+time.Minute {
			t.Errorf("close took %v", time.Since(began))
		}
		l.going = nil
		l.close(ctx)
		l.begin(nil) // would look into a book that is not there
	})
}

func TestTailFailsWhatItCannotDecode(t *testing.T) {
	follow(t, func(f *File) { f.Codec = codec.NDJSON() }, []string{"a"}, func(x *tailing) {
		x.write("a", "{}\n{")
		x.open()
		x.expect("{}")
		x.append("a", "\n{}\n")
		x.expect("!"+ndjsonError(t, "{"), "{}")
	})
}

func ndjsonError(t *testing.T, text string) string {
	t.Helper()
	var b pipe.Batch
	b.Reset(nil, "src", 1)
	c := codec.NDJSON()
	if err := c.Decode(&b, []byte(text), 100); err != nil {
		t.Fatal(err)
	}
	_, failed, _ := b.Take(time.Now())
	return strings.TrimPrefix(failed[0].Err.Error(), "line 1: ")
}

// The system announces what happens, so that nobody waits for the poll.
func TestTailIsPrompt(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.log")
	write(t, a, "0\n")
	f := newFile(filepath.Join(dir, "**", "*.log"))
	f.Follow, f.PollInterval = true, pipe.Duration(time.Hour)
	p := pipetest.Pull(t, f)
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	expect := func(want string) {
		t.Helper()
		got, err := p.Read(ctx)
		if len(got) != 1 || got[0].Text != want {
			t.Fatalf("got %q and %v, want %s", texts(got), err, want)
		}
	}
	expect("0")
	done := make(chan struct{})
	step := func(do func()) {
		go func() { do(); done <- struct{}{} }()
	}
	for i := range 3 {
		want := fmt.Sprint("line ", i)
		step(func() { appendTo(t, a, want+"\n") })
		expect(want)
		<-done
	}
	step(func() { os.Rename(a, a+".1"); write(t, a, "new\n") })
	expect("new")
	<-done
	step(func() { appendTo(t, a+".1", "late\n") })
	expect("late")
	<-done
}
