package sources

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func TestFilePatterns(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.log", "b.log", "c.txt", "d/e.log", "d/f/g.log", "h.log.gz", "[x].log"} {
		content := name + "\n"
		if strings.HasSuffix(name, ".gz") {
			content = gz(t, content)
		}
		write(t, filepath.Join(dir, name), content)
	}
	os.Symlink(filepath.Join(dir, "a.log"), filepath.Join(dir, "z_link.log"))
	os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "z_broken.log"))
	os.Symlink(".", filepath.Join(dir, "circle"))
	os.Symlink("..", filepath.Join(dir, "d", "circle"))
	os.Mkdir(filepath.Join(dir, "dir.log"), 0o700)
	syscall.Mkfifo(filepath.Join(dir, "fifo.log"), 0o600)
	f := func(paths, exclude []string, want ...string) {
		t.Helper()
		src := newFile()
		for _, p := range paths {
			src.Paths = append(src.Paths, filepath.Join(dir, p))
		}
		src.Exclude = exclude
		if got := readAll(t, src); !slices.Equal(got, want) {
			t.Errorf("%q without %q: got %q, want %q", paths, exclude, got, want)
		}
	}
	f([]string{"*.log"}, nil, "[x].log", "a.log", "b.log")
	f([]string{"**/*.log"}, nil, "[x].log", "a.log", "b.log", "d/e.log", "d/f/g.log")
	f([]string{"d/**"}, nil, "d/e.log", "d/f/g.log")
	f([]string{"b.log", "a.log", "*.log"}, []string{"[[]*"}, "a.log", "b.log")
	f([]string{"[x].log"}, nil, "[x].log")
	f([]string{"{a,b}.log"}, nil, "a.log", "b.log")
	f([]string{"*"}, []string{"*.gz", "*.txt", filepath.Join(dir, "a*")}, "[x].log", "b.log", "a.log") // through the link
	f([]string{"*.none"}, nil)
}

func TestFileCountsLinkedFilesOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "1234\n")
	os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	p := pipetest.Pull(t, newFile(filepath.Join(dir, "*")))
	defer p.Close()
	if _, total := p.Source.(*File).Progress(); total != 5 {
		t.Errorf("got %d bytes in all, want 5", total)
	}
	if got := texts(drain(t, p)); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestFileOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ok"), "a\n")
	write(t, filepath.Join(dir, "fake.gz"), "plain text\n")
	syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)
	f := func(change func(*File), path, want string) {
		t.Helper()
		src := newFile(strings.ReplaceAll(path, "DIR", dir))
		change(src)
		err := src.Open(t.Context(), pipetest.Env())
		var b pipe.Batch
		b.Reset(nil, "src", 1)
		if err == nil {
			err = src.Read(t.Context(), &b)
		}
		src.Close(t.Context())
		if err == nil {
			t.Errorf("%s: no error, want %s", path, want)
		} else if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	nop := func(*File) {}
	f(nop, "DIR/none", "DIR/none does not exist")
	f(func(f *File) { f.Paths = append(f.Paths, "/none/2") }, "DIR/none", "DIR/none, /none/2 do not exist")
	f(nop, "DIR", "paths[0]: DIR is a directory; write DIR/* to read the files in it, or DIR/** to go deeper")
	f(nop, "/dev/null", "paths[0]: /dev/null is a device, not a file; read it with the source type stdin: pipectl run … < /dev/null")
	f(nop, "DIR/fifo", "paths[0]: DIR/fifo is a named pipe, not a file; read it with the source type stdin: pipectl run … < DIR/fifo")
	f(nop, "DIR/fake.gz", "DIR/fake.gz: its name says gzip, its content does not; write compression: none to read it as it is")
	f(func(f *File) { f.Compression = codec.CompressZstd }, "DIR/ok", "DIR/ok: the data is not zstd")
	f(func(f *File) { f.Checkpoint = dir + "/no/where" }, "DIR/ok", "checkpoint: open DIR/no/where.tmp: no such file or directory")
	if os.Getuid() != 0 {
		os.Chmod(filepath.Join(dir, "ok"), 0)
		f(nop, "DIR/ok", "open DIR/ok: permission denied")
		os.Mkdir(filepath.Join(dir, "closed"), 0)
		f(nop, "DIR/closed/*", "paths[0]: DIR/closed/*: open DIR/closed: permission denied")
		f(nop, "DIR/closed/a", "paths[0]: stat DIR/closed/a: permission denied")
	}
}

func TestFileWarnsAboutPatternsWithoutFiles(t *testing.T) {
	var log bytes.Buffer
	f := newFile(filepath.Join(t.TempDir(), "*.log"))
	env := pipetest.Env()
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := f.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	defer f.Close(t.Context())
	var b pipe.Batch
	b.Reset(nil, "src", 1)
	if err := f.Read(t.Context(), &b); err != io.EOF || !strings.Contains(log.String(), "no file matches") {
		t.Errorf("got %v and log %q", err, log.String())
	}
}
