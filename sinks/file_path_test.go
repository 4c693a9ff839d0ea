package sinks

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func TestPathTemplate(t *testing.T) {
	f := func(template, event, want string) {
		t.Helper()
		p, err := parsePathTemplate(template)
		if err != nil {
			t.Fatalf("%s: %v", template, err)
		}
		e := batch(t, event)[0]
		e.SetMeta("topic", "t/1")
		if got := string(p.appendPath(nil, e, "unknown")); got != want {
			t.Errorf("%s of %s: got %q, want %q", template, event, got, want)
		}
	}
	f("out.log", "x", "out.log")
	f("a{{b}}c", "x", "a{b}c")
	f("{service}.log", `{"service":"web"}`, "web.log")
	f("{a.b}/{c[0]}", `{"a":{"b":1},"c":[true]}`, "1/true")
	f("{message}", "the line", "the line")
	f("{meta:topic}", "x", "t_1")
	f("{meta:other}", "x", "unknown")
	f("{time:2006-01-02}/{time:15}", "x", "2026-03-01/23")
	f("{time:2006/01/02}", "x", "2026/03/01")
	f("{service}", `{}`, "unknown")
	f("{service}", `{"service":null}`, "unknown")
	f("{service}", `{"service":""}`, "unknown")
	f("{service}", `{"service":{}}`, "unknown")
	f("{service}", `{"service":[1]}`, "unknown")
	// What strangers may send.
	f("l/{service}", `{"service":"../../etc/passwd"}`, "l/.._.._etc_passwd")
	f("l/{service}", `{"service":".."}`, "l/__")
	f("l/{service}", `{"service":"."}`, "l/_")
	f("l/{a}{b}", `{"a":".","b":"."}`, "l/__")
	f("l/{a}.", `{"a":"."}`, "l/_.")
	f("l/{service}", `{"service":"/"}`, "l/_")
	f("l/{service}", `{"service":"a\\b\u0000c\nd\u007f"}`, "l/a_b_c_d_")
	f("l/{service}", `{"service":"größe"}`, "l/größe")
	f("l/{service}", `{"service":"`+strings.Repeat("a", 300)+`"}`, "l/"+strings.Repeat("a", longestValue))
	f("l/{service}", `{"service":"`+strings.Repeat("a", longestValue-1)+`öö"}`, "l/"+strings.Repeat("a", longestValue-1))
}

// TestPathsStayInTheirFolder tries values made of what could be dangerous.
func TestPathsStayInTheirFolder(t *testing.T) {
	pieces := []string{".", "..", "/", "\\", "\x00", "a", "~", " ", "\n", "%2e", "․", "${HOME}"}
	p, err := parsePathTemplate("/base/{meta:a}{meta:b}/x")
	if err != nil {
		t.Fatal(err)
	}
	for range 20000 {
		e := batch(t, "x")[0]
		for _, key := range []string{"a", "b"} {
			v := ""
			for range rand.IntN(5) {
				v += pieces[rand.IntN(len(pieces))]
			}
			e.SetMeta(key, v)
		}
		got := string(p.appendPath(nil, e, "unknown"))
		clean := filepath.Clean(got)
		if clean != got || strings.Count(got, "/") != 3 || !strings.HasPrefix(clean, "/base/") {
			t.Fatalf("got %q, which is %q", got, clean)
		}
	}
}

// TestFileByEvent spreads events over more files than may be open.
func TestFileByEvent(t *testing.T) {
	for _, c := range []codec.Compression{codec.CompressNone, codec.CompressZstd} {
		dir := t.TempDir()
		s := fresh(t, "file", func(s *File) {
			s.Path, s.Codec, s.MaxOpenFiles, s.Compress = filepath.Join(dir, "{k}", "out.log"), codec.NDJSON(), 4, c
		})
		shut := open(t, s)
		want := map[string]string{}
		for n := range 60 {
			lines := make([]string, rand.IntN(80)+1)
			for i := range lines {
				k := fmt.Sprintf("k%d", rand.IntN(10))
				lines[i] = fmt.Sprintf(`{"k":"%s","n":%d,"i":%d}`, k, n, i)
				want[k] += lines[i] + "\n"
			}
			write(t, s, lines...)
			if n := s.open.len(); n > 4 {
				t.Fatalf("%d files are open, want at most 4", n)
			}
		}
		shut()
		got := map[string]string{}
		for k := range want {
			got[k] = unpacked(t, filepath.Join(dir, k, "out.log"), c)
		}
		if !maps.Equal(got, want) {
			t.Errorf("compress %s: the files are not what was sent to them", c)
		}
	}
}

func TestFileByEventFailsInPart(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bad.log"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := fresh(t, "file", func(s *File) {
		s.Path, s.MaxOpenFiles, s.Codec = filepath.Join(dir, "{k}.log"), 3, codec.NDJSON()
	})
	open(t, s)
	lines := []string{`{"k":"a","n":1}`, `{"k":"bad"}`, `{"k":"b","n":2}`, `{"k":"full"}`, `{"k":"bad"}`, `{"k":"a","n":3}`, `{"k":"full"}`}
	write(t, s, lines[3])
	s.mu.Lock()
	for f := range s.open.all() {
		if strings.HasSuffix(f.path, "full.log") {
			f.dst = &faulty{target: f.dst, full: true, room: 3}
		}
	}
	s.mu.Unlock()
	err := s.Write(t.Context(), batch(t, lines...))
	var part *pipe.PartialError
	if !errors.As(err, &part) {
		t.Fatalf("got %v, want a partial error", err)
	}
	var at []int
	for _, it := range part.Items {
		at = append(at, it.Index)
		if bad := it.Index == 1 || it.Index == 4; bad {
			wantError(t, it.Err, pipe.Permanent, "bad.log", "directory")
		} else {
			wantError(t, it.Err, pipe.Fatal, "full.log", "no space")
		}
	}
	if !slices.Equal(at, []int{1, 3, 4, 6}) {
		t.Fatalf("failed at %v, want [1 3 4 6]", at)
	}
	wantFile(t, filepath.Join(dir, "a.log"), lines[0]+"\n"+lines[5]+"\n")
	wantFile(t, filepath.Join(dir, "b.log"), lines[2]+"\n")
	wantFile(t, filepath.Join(dir, "full.log"), lines[3]+"\n")
}
