package sources

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// readSome opens f, reads n events, settles the first of them, and leaves as a
// crash does. It returns what must come again: everything behind the last commit.
func readSome(t *testing.T, f *File, n, settle int) (again []string) {
	t.Helper()
	p := pipetest.Pull(t, f)
	var all []pipetest.Pulled
	for len(all) < n {
		got, err := p.Read(t.Context())
		all = append(all, got...)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if err == io.EOF {
			break
		}
	}
	p.Settle(all[:min(settle, len(all))], pipe.Delivered)
	p.Commit()
	p.Abandon()
	for _, e := range all {
		if e.Position > p.Marks[e.Partition] {
			again = append(again, e.Text)
		}
	}
	if len(all) != n || settle > 0 && len(again) == len(all) {
		t.Errorf("read %d events, want %d; %d are not committed after %d were settled", len(all), n, len(again), settle)
	}
	return again
}

func withCheckpoint(t *testing.T, pattern string) (*File, string) {
	t.Helper()
	dir := memDir(t)
	f := newFile(filepath.Join(dir, pattern))
	f.Checkpoint = filepath.Join(dir, "keep", "state")
	os.Mkdir(filepath.Dir(f.Checkpoint), 0o700)
	return f, dir
}

// numbered returns lines that say which they are.
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

func checkpointOf(t testing.TB, path string) (c checkpointFile) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheckpointResumes(t *testing.T) {
	f, dir := withCheckpoint(t, "*.log")
	write(t, filepath.Join(dir, "a.log"), numbered(0, 1000))
	want := readSome(t, f, 1000, 600)
	st, err := os.Stat(f.Checkpoint)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a file for its owner alone", st.Mode(), err)
	}
	if got := readAll(t, restarted(f)); !slices.Equal(got, want) {
		t.Errorf("got %d lines from %q, want %d from %q", len(got), got[0], len(want), want[0])
	}
	if got := readAll(t, restarted(f)); len(got) != 0 {
		t.Errorf("got %q, want nothing the third time", got)
	}
	appendTo(t, filepath.Join(dir, "a.log"), "more\n")
	write(t, filepath.Join(dir, "b.log"), "other\n")
	if got := readAll(t, restarted(f)); !slices.Equal(got, []string{"more", "other"}) {
		t.Errorf("got %q, want what is new", got)
	}
	entries, _ := os.ReadDir(filepath.Dir(f.Checkpoint))
	if len(entries) != 1 {
		t.Errorf("%d files are beside the checkpoint", len(entries)-1)
	}
}

func TestCheckpointResumesEveryFormat(t *testing.T) {
	rows := func(from, to int) string { return strings.ReplaceAll(numbered(from, to), "line ", "x,") }
	objects := strings.ReplaceAll(strings.ReplaceAll(numbered(0, 1000), "line ", `{"n":`), "\n", "}\n")
	f := func(name string, c codec.Codec, content string) {
		t.Helper()
		src, dir := withCheckpoint(t, "*")
		src.Exclude = []string{"keep"}
		src.Codec = c
		write(t, filepath.Join(dir, name), content)
		want := readSome(t, src, 1000, 400)
		if got := readAll(t, restarted(src)); !slices.Equal(got, want) {
			t.Errorf("%s: got %d events after the restart, want %d", name, len(got), len(want))
		}
	}
	f("a.log", codec.Lines(), numbered(0, 1000))
	f("a.gz", codec.Lines(), gz(t, numbered(0, 500), numbered(500, 1000)))
	f("a.zst", codec.Lines(), zst(t, numbered(0, 500), numbered(500, 1000)))
	f("a.ndjson", codec.NDJSON(), objects)
	f("a.json", codec.JSON(), "["+strings.TrimSuffix(strings.ReplaceAll(objects, "\n", ",\n"), ",\n")+"]")
	f("a.csv", codec.CSV(), "a,b\n"+rows(0, 1000))
	f("a.csv.gz", codec.CSV(), gz(t, "a,b\n"+rows(0, 1000)))
}

func TestCheckpointFollowsIdentity(t *testing.T) {
	f := func(name string, between func(path string), want ...string) {
		t.Run(name, func(t *testing.T) {
			src, dir := withCheckpoint(t, "a*")
			path := filepath.Join(dir, "a")
			write(t, path, "1\n2\n")
			readAll(t, src)
			between(path)
			if got := readAll(t, restarted(src)); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	f("unchanged", func(string) {})
	f("grown", func(p string) { appendTo(t, p, "3\n") }, "3")
	f("renamed", func(p string) { appendTo(t, p, "3\n"); os.Rename(p, p+".1"); write(t, p, "4\n") }, "4", "3")
	f("replaced", func(p string) { write(t, p+".new", "1\n2\n3\n"); os.Rename(p+".new", p) }, "1", "2", "3")
	f("truncated", func(p string) { os.Truncate(p, 2) }, "1")
	f("rewritten", func(p string) { write(t, p, "x\ny\nz\n") }, "x", "y", "z")
	f("rewritten_as_long", func(p string) { write(t, p, "x\ny\n") }, "x", "y")
	long := strings.Repeat("x", 1500)
	t.Run("truncated_behind_its_beginning", func(t *testing.T) {
		src, dir := withCheckpoint(t, "a*")
		path := filepath.Join(dir, "a")
		write(t, path, long+"\n2\n3\n")
		readAll(t, src)
		os.Truncate(path, int64(len(long)+3))
		if got := readAll(t, restarted(src)); !slices.Equal(got, []string{long, "2"}) {
			t.Errorf("got %d lines", len(got))
		}
	})
	f("deleted", func(p string) { os.Remove(p) })
}

// What was rotated away while nobody read is found by its inode, even where the
// paths do not lead to it any more.
func TestCheckpointFindsRotatedFile(t *testing.T) {
	f, dir := withCheckpoint(t, "a")
	f.Paths = []string{filepath.Join(dir, "a")}
	write(t, filepath.Join(dir, "a"), numbered(0, 300))
	want := append(readSome(t, f, 300, 280), "late", "new")
	os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "a.1"))
	appendTo(t, filepath.Join(dir, "a.1"), "late\n")
	write(t, filepath.Join(dir, "a"), "new\n")
	if got := readAll(t, restarted(f)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if c := checkpointOf(t, f.Checkpoint); len(c.Files) != 2 || c.Files[1].Partition != filepath.Join(dir, "a")+"#2" {
		t.Errorf("got %+v", c.Files)
	}
	readAll(t, restarted(f))
	if c := checkpointOf(t, f.Checkpoint); len(c.Files) != 1 || c.Files[0].Offset != 4 {
		t.Errorf("got %+v, want only the new file", c.Files)
	}
}

func TestCheckpointFindsRotatedFileWhenFollowing(t *testing.T) {
	follow(t, func(f *File) { f.Checkpoint = f.Paths[0] + ".state" }, []string{"a"}, func(x *tailing) {
		x.write("a", "1\n2\n")
		x.open()
		x.expect("1", "2")
		x.settle()
		x.p.Abandon()
		x.rename("a", "a.1")
		x.append("a.1", "late\n")
		x.write("a", "new\n")
		x.open()
		x.expectWithin(10*time.Second, "late", "new")
		x.settle()
		if all := x.f.book.all(); len(all) != 1 {
			t.Errorf("%d files are known, want only the new one", len(all))
		}
	})
}

// A rotated file that was read to its end stays known until its last event is
// settled: a crash before that must bring it back.
func TestCheckpointKeepsUnsettledRotatedFile(t *testing.T) {
	keep := func(f *File) { f.Checkpoint = f.Paths[0] + ".state"; f.Codec = codec.NDJSON() }
	follow(t, keep, []string{"a"}, func(x *tailing) {
		bad := "!" + ndjsonError(t, "{]")
		x.write("a", "{}\n{}\n{]\n\n")
		x.open()
		x.expect("{}", "{}", bad)
		old := x.all
		x.rename("a", "a.1")
		x.write("a", "{\"new\":1}\n")
		x.expectWithin(20*time.Second, `{"new":1}`)
		x.p.Settle(x.all[3:], pipe.Delivered)
		x.p.Settle(old[:1], pipe.Delivered)
		x.p.Commit()
		if n := len(checkpointOf(t, x.f.Checkpoint).Files); n != 2 || len(x.f.follower.tails) != 1 {
			t.Fatalf("%d files in the checkpoint and %d open, want 2 and 1", n, len(x.f.follower.tails))
		}
		x.p.Abandon()
		x.open()
		x.expectWithin(20*time.Second, "{}", "{}", bad)
		x.p.Settle(x.all[len(x.all)-3:], pipe.Delivered)
		x.p.Commit()
		if n := len(checkpointOf(t, x.f.Checkpoint).Files); n != 1 {
			t.Errorf("%d files in the checkpoint, want only the new one", n)
		}
	})
}

func TestCheckpointForgetsWhatIsGone(t *testing.T) {
	f, dir := withCheckpoint(t, "*.log")
	for i := range 10 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.log", i)), "x\n")
	}
	readAll(t, f)
	for i := range 9 {
		os.Remove(filepath.Join(dir, fmt.Sprintf("%d.log", i)))
	}
	readAll(t, restarted(f))
	if c := checkpointOf(t, f.Checkpoint); len(c.Files) != 1 || c.Files[0].Path != filepath.Join(dir, "9.log") {
		t.Errorf("got %+v, want only 9.log", c.Files)
	}
}

// A partition that the unfinished last line belongs to is settled up to it.
func TestCheckpointKeepsUnfinishedLine(t *testing.T) {
	follow(t, func(f *File) { f.Checkpoint = f.Paths[0] + ".state" }, []string{"a"}, func(x *tailing) {
		x.write("a", "1\nunfin")
		x.open()
		x.expect("1")
		x.settle()
		x.p.Close()
		x.append("a", "ished\n")
		x.open()
		x.expect("unfinished")
	})
}

// A checkpoint that cannot be written is reported, and written when it can be.
func TestCheckpointTriesAgain(t *testing.T) {
	f, dir := withCheckpoint(t, "a")
	write(t, filepath.Join(dir, "a"), "1\n")
	p := pipetest.Pull(t, f)
	p.Settle(drain(t, p), pipe.Delivered)
	os.RemoveAll(filepath.Dir(f.Checkpoint))
	if err := f.Commit(t.Context(), p.Ledger.Marks()); err == nil || !strings.HasPrefix(err.Error(), "checkpoint: ") {
		t.Errorf("got %v", err)
	}
	os.Mkdir(filepath.Dir(f.Checkpoint), 0o700)
	p.Close() // without anything new to commit
	if got := readAll(t, restarted(f)); len(got) != 0 {
		t.Errorf("got %q again", got)
	}
}

// A crash between writing the new checkpoint and renaming it leaves the old one.
func TestCheckpointSurvivesLeftovers(t *testing.T) {
	f, dir := withCheckpoint(t, "a")
	write(t, filepath.Join(dir, "a"), "1\n")
	readAll(t, f)
	write(t, f.Checkpoint+".tmp", `{"version":1,"fi`)
	appendTo(t, filepath.Join(dir, "a"), "2\n")
	if got := readAll(t, restarted(f)); !slices.Equal(got, []string{"2"}) {
		t.Errorf("got %q", got)
	}
}

// Killed at random moments, again and again, nothing is lost, and nothing that
// was committed comes again.
func TestCheckpointKilledAtRandom(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		f, dir := withCheckpoint(t, "*.log*")
		const files, lines = 3, 700
		for i := range files {
			name, content := fmt.Sprintf("%d.log", i), strings.ReplaceAll(numbered(0, lines), "line", fmt.Sprintf("file %d line", i))
			if rng.IntN(3) == 0 {
				name, content = name+".gz", gz(t, content)
			}
			write(t, filepath.Join(dir, name), content)
		}
		seen, committed := map[string]int{}, map[string]int64{}
		for range 40 {
			p := pipetest.Pull(t, restarted(f))
			var all []pipetest.Pulled
			for range 1 + rng.IntN(6) {
				got, err := p.Read(t.Context())
				all = append(all, got...)
				for _, e := range got {
					seen[e.Text]++
					if e.Position <= committed[e.Partition] {
						t.Fatalf("seed %d: %s came again after it was committed", seed, e.Text)
					}
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				for range rng.IntN(400) {
					if len(all) > 0 {
						i := rng.IntN(len(all))
						p.Settle(all[i:i+1], pipe.Delivered)
						all = slices.Delete(all, i, i+1)
					}
				}
				if rng.IntN(2) == 0 {
					p.Commit()
				}
			}
			for partition, pos := range p.Marks {
				committed[partition] = max(committed[partition], pos)
			}
			p.Abandon()
		}
		for _, s := range readAll(t, restarted(f)) {
			seen[s]++
		}
		if len(seen) != files*lines {
			t.Fatalf("seed %d: saw %d different lines, want %d", seed, len(seen), files*lines)
		}
	}
}
