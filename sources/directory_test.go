package sources

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
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

// dropBox is a folder for a Directory.
type dropBox struct {
	t    testing.TB
	root string
}

func newInbox(t testing.TB) dropBox {
	t.Helper()
	i := dropBox{t, t.TempDir()}
	if err := os.Mkdir(i.path("in"), 0o755); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i dropBox) path(name string) string { return filepath.Join(i.root, name) }

func (i dropBox) put(name, text string) {
	i.t.Helper()
	if err := os.MkdirAll(filepath.Dir(i.path(name)), 0o755); err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(i.path(name), []byte(text), 0o644); err != nil {
		i.t.Fatal(err)
	}
}

// source returns one that ends with what is there, unless set says something else.
func (i dropBox) source(set func(*Directory)) *Directory {
	i.t.Helper()
	c, _ := pipe.Lookup(pipe.KindSource, "directory")
	s := c.New().(*Directory)
	s.Path, s.DoneDir, s.FailedDir = i.path("in"), i.path("in/done"), i.path("in/failed")
	s.StableFor, s.Poll, s.Follow = 0, pipe.Duration(5*time.Millisecond), false
	if set != nil {
		set(s)
	}
	if err := s.Validate(); err != nil {
		i.t.Fatal(err)
	}
	return s
}

// all reads to the end.
func all(t testing.TB, p *pipetest.Puller) (list []pipetest.Pulled) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		got, err := p.Read(ctx)
		list = append(list, got...)
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// holds checks which files there are.
func (i dropBox) holds(want ...string) {
	i.t.Helper()
	var got []string
	filepath.WalkDir(i.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(i.root, path)
			got = append(got, name)
		}
		return err
	})
	if slices.Sort(want); !slices.Equal(got, want) {
		i.t.Errorf("got files %q, want %q", got, want)
	}
}

func TestDirectoryConformance(t *testing.T) {
	f := func(name string, follow bool) {
		t.Run(name, func(t *testing.T) {
			i := newInbox(t)
			var want []string
			fill := func() {
				want = nil
				for n := range 2 {
					var text strings.Builder
					for k := range 400 {
						want = append(want, fmt.Sprintf("%d line %d", n, k))
						text.WriteString(want[len(want)-1] + "\n")
					}
					i.put(fmt.Sprintf("in/%d.log", n), text.String())
				}
			}
			fill()
			at := time.Now().Add(-time.Hour)
			reset := func() {
				os.RemoveAll(i.path("in"))
				fill()
				for n := range 2 {
					os.Chtimes(i.path(fmt.Sprintf("in/%d.log", n)), at, at)
				}
			}
			reset()
			// The suite settles the first half, which is the first file, and some of the second.
			pipetest.Source(t, func() pipe.Source { return i.source(func(s *Directory) { s.Follow = follow }) },
				pipetest.SourceOptions{Want: want, Endless: follow, Reset: reset})
		})
	}
	f("to the end", false)
	f("following", true)
}

func TestDirectoryPutsAway(t *testing.T) {
	i := newInbox(t)
	i.put("in/a.csv", "n\n1\n2\n")
	i.put("in/b.csv", "n\n3\n")
	i.put("in/sub/c.csv", "n\n4\n")
	i.put("in/empty.csv", "")
	i.put("in/.hidden.csv", "n\n5\n")
	i.put("in/d.csv.tmp", "n\n6\n")
	i.put("in/other.txt", "n\n7\n")
	i.put("in/done/a.csv", "old")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, "n\n8\n")
	z.Close()
	i.put("in/e.csv.gz", packed.String())
	p := pipetest.Pull(t, i.source(func(s *Directory) { s.Codec, s.Include = codec.CSV(), []string{"**/*.csv", "**/*.csv.gz"} }))
	list := all(t, p)
	if got, want := texts(list), []string{`{"n":"1"}`, `{"n":"2"}`, `{"n":"3"}`, `{"n":"8"}`, `{"n":"4"}`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if o := list[1].Origin; !strings.HasPrefix(o, "a.csv#") || !strings.HasSuffix(o, ":3") {
		t.Errorf("origin %q, want line 3 of a.csv", o)
	}
	p.Settle(list[:1], pipe.Delivered)
	p.Settle(list[2:], pipe.Filtered)
	p.Commit()
	if _, err := os.Stat(i.path("in/a.csv")); err != nil {
		t.Error("a file with an open event was put away")
	}
	p.Settle(list[1:2], pipe.Delivered)
	p.Close()
	i.holds("in/.hidden.csv", "in/d.csv.tmp", "in/other.txt", "in/done/a.csv", "in/done/a.csv.1", "in/done/b.csv",
		"in/done/e.csv.gz", "in/done/empty.csv", "in/done/sub/c.csv")
}

func TestDirectoryOutcomes(t *testing.T) {
	f := func(what string, o pipe.Outcome, want string) {
		t.Helper()
		i := newInbox(t)
		i.put("in/a.log", "1\n2\n")
		p := pipetest.Pull(t, i.source(nil))
		list := all(t, p)
		p.Settle(list[:1], o)
		p.Settle(list[1:], pipe.Delivered)
		p.Close()
		if _, err := os.Stat(i.path(want)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	f("dead letters are settled", pipe.DeadLettered, "in/done/a.log")
	f("what may be dropped is settled", pipe.Discarded, "in/done/a.log")
	f("a failure", pipe.Failed, "in/failed/a.log")
	f("a refusal", pipe.Refused, "in/failed/a.log")
	f("nobody decided", pipe.Returned, "in/a.log")
}

func TestDirectoryDeletes(t *testing.T) {
	i := newInbox(t)
	i.put("in/a.log", "1\n")
	p := pipetest.Pull(t, i.source(func(s *Directory) { s.DoneDir, s.Delete = "", true }))
	p.Settle(all(t, p), pipe.Delivered)
	p.Close()
	i.holds()
}

func TestDirectoryDamage(t *testing.T) {
	i := newInbox(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, strings.Repeat("a line that is there\n", 50_000))
	z.Close()
	i.put("in/torn.gz", packed.String()[:packed.Len()-100])
	i.put("in/z.log", "fine\n")
	p := pipetest.Pull(t, i.source(nil))
	list := all(t, p)
	if n := len(list); n < 2 || list[n-1].Text != "fine" {
		t.Errorf("got %d events, want those before the damage and those of the next file", n)
	}
	p.Settle(list, pipe.Delivered)
	p.Close()
	i.holds("in/failed/torn.gz", "in/done/z.log")
}

// TestDirectoryWaitsForRest grows a file and expects it only when it rests.
func TestDirectoryWaitsForRest(t *testing.T) {
	i := newInbox(t)
	i.put("in/a.log", "1\n")
	p := pipetest.Pull(t, i.source(func(s *Directory) { s.StableFor = pipe.Duration(time.Second) }))
	stop := time.Now().Add(1500 * time.Millisecond)
	text := "1\n"
	for time.Now().Before(stop) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		got, err := p.Read(ctx)
		cancel()
		if len(got) > 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("read %q, %v of a file that grows", texts(got), err)
		}
		text += "more\n"
		i.put("in/a.log", text)
	}
	if got := strings.Join(texts(all(t, p)), "\n") + "\n"; got != text {
		t.Errorf("got %q, want %q", got, text)
	}
	p.Close()
}

func TestDirectoryRereadsWhatChanged(t *testing.T) {
	i := newInbox(t)
	i.put("in/a.log", "1\n")
	p := pipetest.Pull(t, i.source(func(s *Directory) { s.Follow = true }))
	read := func(want ...string) {
		t.Helper()
		var list []pipetest.Pulled
		for len(list) < len(want) {
			got, err := p.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, got...)
		}
		if got := texts(list); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		if want[len(want)-1] == "1" {
			i.put("in/a.log", "1\nlate\n")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		more, _ := p.Read(ctx) // to the end of the file, which is another one now
		list = append(list, more...)
		p.Settle(list, pipe.Delivered)
	}
	read("1")
	read("1", "late")
	p.Close()
	i.holds("in/done/a.log")
}

// TestDirectoryBounds checks that no more than max_unfinished files are begun.
func TestDirectoryBounds(t *testing.T) {
	i := newInbox(t)
	for n := range 10 {
		i.put(fmt.Sprintf("in/%d.log", n), fmt.Sprint(n))
	}
	s := i.source(func(s *Directory) { s.MaxUnfinished, s.MaxWaiting = 3, 4 })
	p := pipetest.Pull(t, s)
	var list []pipetest.Pulled
	read := func(n int) { // n events, and what comes within a moment of them
		for patience := 10 * time.Second; ; {
			if len(list) >= n {
				patience = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			got, err := p.Read(ctx)
			cancel()
			if list = append(list, got...); err != nil {
				return
			}
		}
	}
	read(3)
	if got := texts(list); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Fatalf("got %q, want the first three files", got)
	}
	p.Settle(list[1:2], pipe.Delivered)
	read(4)
	if got := texts(list); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
		t.Fatalf("got %q, want one more", got)
	}
	if _, lag := s.Lag(); lag == 0 {
		t.Error("nothing is said to wait")
	}
	p.Settle(append(list[:1:1], list[2:]...), pipe.Delivered)
	settleAll(t, p, 6)
	p.Close()
	if _, err := os.Stat(i.path("in/done/9.log")); err != nil {
		t.Error(err)
	}
}

// settleAll reads n events and settles them as they come.
func settleAll(t testing.TB, p *pipetest.Puller, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for seen := 0; seen < n; {
		got, err := p.Read(ctx)
		if err != nil {
			t.Fatalf("after %d: %v", seen, err)
		}
		seen += len(got)
		p.Settle(got, pipe.Delivered)
	}
}

func TestDirectoryIsReadByOne(t *testing.T) {
	i := newInbox(t)
	p := pipetest.Pull(t, i.source(nil))
	err := i.source(nil).Open(t.Context(), pipetest.Env())
	if err == nil || !strings.Contains(err.Error(), "another source reads this folder") {
		t.Errorf("got %v, want a refusal", err)
	}
	p.Close()
	pipetest.Pull(t, i.source(nil)).Close()
}

func TestDirectoryValidate(t *testing.T) {
	f := func(set func(*Directory), field, want string) {
		t.Helper()
		s := &Directory{Path: "in", Include: []string{"*"}, Codec: codec.Lines(), DoneDir: "done", FailedDir: "failed"}
		set(s)
		var fe *pipe.FieldError
		if err := s.Validate(); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error at %s with %q", err, field, want)
		}
	}
	f(func(s *Directory) { s.DoneDir = "" }, "done_dir", "delete: true")
	f(func(s *Directory) { s.Delete = true }, "delete", "leave one")
	f(func(s *Directory) { s.FailedDir = "./in/" }, "failed_dir", "path itself")
	f(func(s *Directory) { s.Include = nil }, "include", "no file")
	f(func(s *Directory) { s.Include = []string{"[a"} }, "include[0]", "no pattern")
	f(func(s *Directory) { s.Exclude = []string{"/tmp/*"} }, "exclude[0]", "no pattern")
	f(func(s *Directory) { s.Codec = codec.CSV(); s.Codec.Header = false }, "codec.columns", "names")
}
