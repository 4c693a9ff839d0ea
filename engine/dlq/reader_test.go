package dlq

import (
	"bytes"
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
	"github.com/pipectl/pipectl/engine/record"
)

// letter makes the n-th letter of a test: of nodes a and b in turn.
func letter(n int) Letter {
	return Letter{Error: fmt.Sprintf("error %d", n%3), Class: pipe.Poison, Node: []string{"a", "b"}[n%2], Attempts: 1, Time: time.Unix(int64(n), 0).UTC(),
		ID: fmt.Sprintf("%016x", n), Origin: fmt.Sprintf("in.log:%d", n), Source: "in", Position: int64(n),
		Metadata: []Entry{{"n", fmt.Sprint(n)}}, Event: record.FromText(fmt.Appendf(nil, "line %d", n))}
}

// lines renders the letters from first up to last.
func lines(first, last int) string {
	var b []byte
	for n := first; n <= last; n++ {
		l := letter(n)
		r := l.Record()
		b = append(r.AppendJSON(b), '\n')
	}
	return string(b)
}

// write makes a file in a folder of its own.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// packed compresses each part as a stream of its own, as the file sink does.
func packed(t testing.TB, c codec.Compression, parts ...string) string {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		w, err := codec.NewCompressor(&b, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, p); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// all reads a file: letters as their ID's number, other lines as what is wrong.
func all(t testing.TB, path string) (list []string, err error) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	last := int64(0)
	for {
		f, err := r.Next()
		if err == io.EOF {
			return list, nil
		} else if err != nil {
			return list, err
		}
		if f.From != last || f.To <= f.From {
			t.Errorf("%s: from %d to %d, after %d", f.Place, f.From, f.To, last)
		}
		last = f.To
		if f.Bad != nil {
			list = append(list, strings.TrimPrefix(f.Place, path+":")+": "+f.Bad.Error())
		} else {
			list = append(list, fmt.Sprintf("%d=%s", f.Number, strings.TrimLeft(f.ID, "0")))
		}
	}
}

func TestReader(t *testing.T) {
	f := func(content string, want ...string) {
		t.Helper()
		if got, err := all(t, write(t, "bad.ndjson", content)); err != nil || !slices.Equal(got, want) {
			t.Errorf("error %v, got %q, want %q", err, got, want)
		}
	}
	f("")
	f("\n\n")
	f(lines(1, 3), "1=1", "2=2", "3=3")
	f(packed(t, codec.CompressGzip, lines(1, 2), lines(3, 3)), "1=1", "2=2", "3=3")
	f(packed(t, codec.CompressZstd, lines(1, 2), lines(3, 3)), "1=1", "2=2", "3=3")
	f("\ufeff"+lines(1, 1)+"\n"+lines(2, 2), "1=1", "2=2")
	f(strings.TrimSuffix(lines(1, 2), "\n"), "1=1", "2=2")
	f(lines(1, 1)+"what\n{}\n"+lines(2, 2), "1=1", "2: not a dead letter: not a JSON object: invalid JSON at byte 0: an event must be a JSON object, starting with {",
		"3: not a dead letter: it has no node", "2=2")
	f(lines(1, 1)+`{"node":"a","id"`, "1=1", "2: not a dead letter yet: the last line has no end; it is being written, or was cut off by a crash")
}

func TestReaderOfMany(t *testing.T) {
	got, err := all(t, write(t, "bad.ndjson", lines(1, 5000)))
	if err != nil || len(got) != 5000 || got[4999] != "5000=1388" {
		t.Errorf("error %v, %d letters, last %q", err, len(got), got[len(got)-1])
	}
}

// TestReaderGivesWhatIsThere: of a compressed file that is cut off, what comes before.
func TestReaderGivesWhatIsThere(t *testing.T) {
	for _, c := range []codec.Compression{codec.CompressGzip, codec.CompressZstd} {
		whole := packed(t, c, lines(1, 300), lines(301, 600))
		got, err := all(t, write(t, "bad", whole[:len(whole)-5]))
		if err == nil || !strings.Contains(err.Error(), "cut off") || len(got) < 300 {
			t.Errorf("%s: error %v, %d letters", c, err, len(got))
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	f(filepath.Join(t.TempDir(), "none"), "no such file")
	f(t.TempDir(), "is a folder: name the files in it")
	f("/dev/null", "is no regular file")
}

// TestReaderStopsWhereItBegan: what is appended after Open is not read.
func TestReaderStopsWhereItBegan(t *testing.T) {
	path := write(t, "bad.ndjson", lines(1, 2))
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(lines(3, 9)); err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		_, err := r.Next()
		if err == io.EOF && n == 3 {
			return
		}
		if err != nil || n == 3 {
			t.Fatalf("letter %d: %v", n, err)
		}
	}
}
