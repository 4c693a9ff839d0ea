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

	"github.com/klauspost/compress/zstd"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// newFile returns a file source as YAML without options would make it.
func newFile(paths ...string) *File {
	c, _ := pipe.Lookup(pipe.KindSource, "file")
	f := c.New().(*File)
	f.Paths = paths
	return f
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t testing.TB, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, content); err != nil {
		t.Fatal(err)
	}
}

// memDir returns a directory in memory where there is one: thousands of files
// take seconds on some disks.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pipectl")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func gz(t testing.TB, members ...string) string {
	t.Helper()
	var out bytes.Buffer
	for _, m := range members {
		w := gzip.NewWriter(&out)
		io.WriteString(w, m)
		w.Close()
	}
	return out.String()
}

func zst(t testing.TB, frames ...string) string {
	t.Helper()
	var out bytes.Buffer
	for _, m := range frames {
		w, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, m)
		w.Close()
	}
	return out.String()
}

// drain reads a source to its end.
func drain(t testing.TB, p *pipetest.Puller) []pipetest.Pulled {
	t.Helper()
	var all []pipetest.Pulled
	for {
		got, err := p.Read(t.Context())
		all = append(all, got...)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func texts(all []pipetest.Pulled) []string {
	var s []string
	for _, e := range all {
		if e.Err != nil {
			s = append(s, "!"+e.Err.Error())
			continue
		}
		s = append(s, e.Text)
	}
	return s
}

// readAll opens f, reads everything, settles and commits it, and closes.
func readAll(t testing.TB, f *File) []string {
	t.Helper()
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	p := pipetest.Pull(t, f)
	all := drain(t, p)
	p.Settle(all, pipe.Delivered)
	p.Close()
	return texts(all)
}

func TestFileConformance(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 3 {
		var content strings.Builder
		for j := range 1000 {
			want = append(want, fmt.Sprintf("file %d line %d", i, j))
			content.WriteString(want[len(want)-1] + "\n")
		}
		write(t, filepath.Join(dir, fmt.Sprintf("%d.log", i)), content.String())
	}
	for _, checkpoint := range []string{"", "state"} {
		for _, follow := range []bool{false, true} {
			t.Run(fmt.Sprintf("follow_%v_checkpoint_%v", follow, checkpoint != ""), func(t *testing.T) {
				keep := ""
				if checkpoint != "" {
					keep = filepath.Join(t.TempDir(), checkpoint)
				}
				pipetest.Source(t, func() pipe.Source {
					f := newFile(filepath.Join(dir, "*.log"))
					f.Checkpoint, f.Follow = keep, follow
					return f
				}, pipetest.SourceOptions{
					Want:      want,
					Endless:   follow,
					Reset:     func() { os.Remove(keep) },
					FromStart: checkpoint == "",
					Taken:     func(s pipe.Source) int64 { return taken(s.(*File)) },
				})
			})
		}
	}
}

func taken(f *File) (n int64) {
	for _, k := range f.book.all() {
		n += k.taken
	}
	return n
}

func TestFileContent(t *testing.T) {
	dir := t.TempDir()
	f := func(name, content string, want ...string) {
		t.Helper()
		path := filepath.Join(dir, name)
		write(t, path, content)
		if got := readAll(t, newFile(path)); !slices.Equal(got, want) {
			t.Errorf("%s %.40q: got %q, want %q", name, content, got, want)
		}
	}
	f("empty", "")
	f("one", "a\n", "a")
	f("no_final_newline", "a\nb", "a", "b")
	f("crlf", "a\r\n\r\nb\r\n", "a", "", "b")
	f("bom", "\xef\xbb\xbfa\n", "a")
	f("invalid_utf8", "\xff\xfe\x00\n\xc3\n", "\xff\xfe\x00", "\xc3")
	f("x.gz", gz(t, "a\nb\n"), "a", "b")
	f("members.gz", gz(t, "a\nb", "c\n", "", "d"), "a", "bc", "d")
	f("empty.gz", "")
	f("nothing.gz", gz(t, ""))
	f("x.zst", zst(t, "a\n", "b\n"), "a", "b")
	f("gzip_without_its_name", gz(t, "a\n"), "a")
}

func TestFileFailsWhatItCannotDecode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ndjson")
	write(t, path, "{\"a\":1}\n{\"a\":\"\xff\"}\nnonsense\n\n{\"a\":2}\n"+strings.Repeat("x", 9<<20)+"\n{}")
	f := newFile(path)
	f.Codec = codec.NDJSON()
	p := pipetest.Pull(t, f)
	defer p.Close()
	all := drain(t, p)
	var got []string
	for _, e := range all {
		verdict := ""
		if e.Err != nil {
			verdict = "!"
		}
		got = append(got, verdict+strings.TrimPrefix(e.Origin, filepath.Dir(path)+"/"))
	}
	want := []string{"x.ndjson:1", "!x.ndjson:2", "!x.ndjson:3", "x.ndjson:5", "!x.ndjson:6", "x.ndjson:7"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	large := all[4]
	if !strings.Contains(large.Err.Error(), "limits.max_event_bytes (8MiB)") || len(large.Text) != 4096 {
		t.Errorf("got %d bytes and %v for the large line", len(large.Text), large.Err)
	}
}

func TestFileDamagedGzip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.gz")
	packed := gz(t, strings.Repeat("some line\n", 100_000))
	write(t, path, packed[:len(packed)/2])
	p := pipetest.Pull(t, newFile(path))
	defer p.Close()
	var err error
	n := 0
	for err == nil {
		var got []pipetest.Pulled
		got, err = p.Read(t.Context())
		n += len(got)
	}
	if want := path + ": the gzip data is cut off"; err.Error() != want || n == 0 {
		t.Errorf("got %v after %d lines, want %s after those that are there", err, n, want)
	}
}

func TestFileProgress(t *testing.T) {
	dir := t.TempDir()
	line := strings.Repeat("x", 99) + "\n"
	plain, packed := strings.Repeat(line, 10_000), gz(t, strings.Repeat(line, 10_000))
	write(t, filepath.Join(dir, "a"), plain)
	write(t, filepath.Join(dir, "b.gz"), packed)
	p := pipetest.Pull(t, newFile(filepath.Join(dir, "*")))
	defer p.Close()
	f := p.Source.(*File)
	total := int64(len(plain) + len(packed))
	if tr := f.Traits(); !tr.Replays || !tr.Finite || tr.Total != total {
		t.Errorf("got traits %+v", tr)
	}
	var last int64
	for {
		got, err := p.Read(t.Context())
		done, of := f.Progress()
		if done < last || of != total || done > total {
			t.Fatalf("progress %d of %d after %d of %d", done, of, last, total)
		}
		last = done
		p.Settle(got, pipe.Delivered)
		p.Commit()
		if err == io.EOF {
			break
		}
	}
	if _, lag := f.Lag(); last != total || lag != 0 {
		t.Errorf("at the end: progress %d of %d, lag %d", last, total, lag)
	}
}

func TestFileLagCountsWhatIsNotRead(t *testing.T) {
	dir := t.TempDir()
	packed := gz(t, "four\n")
	write(t, filepath.Join(dir, "a"), "one\ntwo\n")
	write(t, filepath.Join(dir, "b"), "three\n")
	write(t, filepath.Join(dir, "c.gz"), packed)
	src := newFile(filepath.Join(dir, "*"))
	f := func(want int64) {
		t.Helper()
		if events, got := src.Lag(); got != want || events != -1 {
			t.Errorf("got lag %d events, %d bytes, want -1 and %d", events, got, want)
		}
	}
	f(-1)
	p := pipetest.Pull(t, src)
	defer p.Close()
	f(14 + int64(len(packed)))
	if _, err := p.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	f(6 + int64(len(packed)))
	p.Settle(drain(t, p), pipe.Failed)
	f(0)
}

func TestFileValidate(t *testing.T) {
	f := func(change func(*File), want ...string) {
		t.Helper()
		src := newFile("x")
		change(src)
		err := src.Validate()
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(func(*File) {})
	f(func(f *File) { f.Paths = nil }, "paths: at least one path is needed")
	f(func(f *File) { f.Paths = []string{"", "a[", "ok"} }, `paths[0]: "" is not a path or pattern`, `paths[1]: "a[" is not a path or pattern`)
	f(func(f *File) { f.Exclude = []string{"{"} }, `exclude[0]: "{" is not a path or pattern`)
	f(func(f *File) { f.Codec.Type = "x" }, `codec.type: unknown codec "x": it is one of lines, json, ndjson, csv, raw`)
	f(func(f *File) { f.Codec = codec.Raw(); f.Follow = true }, "codec: raw makes one event of a whole file, and a file that is followed has no end")
	f(func(f *File) { f.Start = "end" }, "start: end needs follow: true; else there is nothing to read")
	f(func(f *File) { f.Start = "middle" }, `start: "middle" is neither beginning nor end`)
	f(func(f *File) { f.PollInterval = 0 }, "poll_interval: must be at least 10ms, got 0s")
}

// Ten thousand files are nothing special.
func TestFileTenThousandFiles(t *testing.T) {
	dir := memDir(t)
	const n = 10_000
	for i := range 100 {
		os.Mkdir(filepath.Join(dir, fmt.Sprintf("%02d", i)), 0o700)
	}
	for i := range n {
		os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d", i%100), fmt.Sprintf("%04d.log", i)), fmt.Appendln(nil, i), 0o600)
	}
	f := newFile(filepath.Join(dir, "**", "*.log"))
	f.Checkpoint = filepath.Join(dir, "state")
	start := time.Now()
	seen := map[string]bool{}
	for _, s := range readAll(t, f) {
		seen[s] = true
	}
	if len(seen) != n {
		t.Errorf("got %d different lines, want %d", len(seen), n)
	}
	if again := readAll(t, restarted(f)); len(again) != 0 {
		t.Errorf("got %d lines again", len(again))
	}
	t.Logf("read twice in %v", time.Since(start))
}

// restarted returns a new instance with the options of f.
func restarted(f *File) *File {
	n := newFile(f.Paths...)
	n.Exclude, n.Codec, n.Follow, n.Checkpoint, n.Start = f.Exclude, f.Codec, f.Follow, f.Checkpoint, f.Start
	n.Compression, n.PollInterval, n.RotateWait, n.polling = f.Compression, f.PollInterval, f.RotateWait, f.polling
	return n
}

func TestFileStopsWhileSkipping(t *testing.T) {
	dir := t.TempDir()
	path, keep := filepath.Join(dir, "x.gz"), filepath.Join(dir, "state")
	write(t, path, gz(t, strings.Repeat("some line\n", 200_000)))
	f := newFile(path)
	f.Checkpoint = keep
	readAll(t, f)
	f = restarted(f)
	if err := f.Open(t.Context(), pipetest.Env()); err != nil {
		t.Fatal(err)
	}
	defer f.Close(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var b pipe.Batch
	b.Reset(nil, "src", 1)
	if err := f.Read(ctx, &b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := f.open(ctx, path, false); !errors.Is(err, context.Canceled) {
		t.Errorf("skipping: got %v", err)
	}
}
