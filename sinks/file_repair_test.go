package sinks

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// TestFileAfterACrash cuts a compressed file at every byte, as a crash may, and
// goes on writing: every batch that was whole must be readable, and the new one.
func TestFileAfterACrash(t *testing.T) {
	f := func(c codec.Compression) {
		dir := t.TempDir()
		path := filepath.Join(dir, "whole")
		s := fresh(t, "file", func(s *File) { s.Path, s.Compress = path, c })
		shut := open(t, s)
		ends, texts := []int64{0}, []string{""}
		for i := range 3 {
			write(t, s, numbered(i*3, i*3+3)...)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, info.Size())
			texts = append(texts, joined(numbered(0, i*3+3)))
		}
		shut()
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range whole {
			n := 0
			for n+1 < len(ends) && ends[n+1] <= int64(cut) {
				n++
			}
			if got, err := wholeStreams(bytes.NewReader(whole[:cut]), c); err != nil || got != ends[n] {
				t.Errorf("%s cut at %d of %d: got %d, %v, want %d", c, cut, len(whole), got, err, ends[n])
			}
			if cut%9 != 0 && int64(cut) != ends[n] {
				continue // the rest is the same for all
			}
			torn := filepath.Join(dir, "torn")
			os.WriteFile(torn, whole[:cut], 0o644)
			s := fresh(t, "file", func(s *File) { s.Path, s.Compress = torn, c })
			shut := open(t, s)
			write(t, s, "after")
			shut()
			if got := unpacked(t, torn, c); got != texts[n]+"after\n" {
				t.Fatalf("%s cut at %d of %d: got %q, want %d batches and the new one", c, cut, len(whole), got, n)
			}
		}
	}
	f(codec.CompressGzip)
	f(codec.CompressZstd)
}

// TestFileMovesUnfinishedLine: what a crash left of a line does not stay among the
// whole ones, and is not thrown away either.
func TestFileMovesUnfinishedLine(t *testing.T) {
	f := func(c codec.Codec, before, want, torn string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "out.log")
		os.WriteFile(path, []byte(before), 0o640)
		s := fresh(t, "file", func(s *File) { s.Path, s.Codec = path, c })
		open(t, s)
		if err := s.Write(t.Context(), batch(t, `{"a":"new"}`)); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, want)
		switch info, err := os.Stat(path + ".torn"); {
		case torn == "" && !os.IsNotExist(err):
			t.Errorf("%q: there is a .torn file: %v", before, err)
		case torn != "" && err != nil:
			t.Errorf("%q: %v", before, err)
		case torn != "":
			wantFile(t, path+".torn", torn)
			if got := info.Mode().Perm(); got != 0o640 {
				t.Errorf("%q: mode %v, want that of the file", before, got)
			}
		}
	}
	const event = "{\"a\":\"new\"}\n"
	f(codec.Lines(), "", event, "")
	f(codec.Lines(), "old\n", "old\n"+event, "")
	f(codec.Lines(), "old\nunfin", "old\n"+event, "unfin\n")
	f(codec.Lines(), "unfin", event, "unfin\n")
	f(codec.Lines(), "old\n"+strings.Repeat("x", 200_000), "old\n"+event, strings.Repeat("x", 200_000)+"\n")
	f(codec.NDJSON(), `{"a":`, event, "{\"a\":\n")
	f(codec.NDJSON(), `{"a":1}`, "{\"a\":1}\n"+event, "")
	f(codec.JSON(), "{\"a\":1}\n{\"a\":2", "{\"a\":1}\n"+event, "{\"a\":2\n")
	f(codec.NDJSON(), "1\n12", "1\n"+event, "12\n") // of 123, perhaps
	f(codec.NDJSON(), "1\ntrue", "1\ntrue\n"+event, "")
	f(codec.Raw(), "old", "old"+event[:len(event)-1], "")
	f(codec.CSV(), "a\nold\n", "a\nold\nnew\n", "")
	f(codec.CSV(), "a\nold\nunf", "a\nold\nnew\n", "unf\n")
	f(codec.CSV(), "a\n\"o\"\"l\nd\"\n", "a\n\"o\"\"l\nd\"\nnew\n", "")
	f(codec.CSV(), "a\nold\n\"x\"\"\ny\n", "a\nold\nnew\n", "\"x\"\"\ny\n\n") // the line breaks are in quotes
	f(codec.CSV(), "a\no\"ld\n", "a\no\"ld\nnew\n", "")                       // this quote opens nothing
}

// TestFileMovesEveryUnfinishedLine: several crashes leave several lines.
func TestFileMovesEveryUnfinishedLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.log")
	for _, part := range []string{"one", "two"} {
		os.WriteFile(path, []byte(part), 0o600)
		s := fresh(t, "file", func(s *File) { s.Path = path })
		open(t, s)()
	}
	wantFile(t, path+".torn", "one\ntwo\n")
}

// TestFileReadsItsOwnOnlyOnce: a file that was closed for others to be opened is
// not read through again.
func TestFileReadsItsOwnOnlyOnce(t *testing.T) {
	dir := t.TempDir()
	s := fresh(t, "file", func(s *File) {
		s.Path, s.MaxOpenFiles, s.Compress = filepath.Join(dir, "{message}"), 1, codec.CompressGzip
	})
	open(t, s)
	write(t, s, "a")
	write(t, s, "b") // closes a
	path := filepath.Join(dir, "a")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := bytes.Repeat([]byte("?"), int(info.Size()))
	os.WriteFile(path, damage, 0o644)
	write(t, s, "a") // would fail if it looked
	write(t, s, "b")
	os.WriteFile(path, append(damage, '?'), 0o644) // but another size is looked at
	wantError(t, s.Write(t.Context(), batch(t, "a")).(*pipe.PartialError).Items[0].Err, pipe.Fatal, "not gzip")
}

func TestFileDoesNotAppendToDamage(t *testing.T) {
	f := func(c codec.Compression) {
		path := filepath.Join(t.TempDir(), "out")
		s := fresh(t, "file", func(s *File) { s.Path, s.Compress = path, c })
		shut := open(t, s)
		write(t, s, numbered(0, 100)...)
		shut()
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(path, append(whole, "plain text of somebody else\n"...), 0o644)
		s = fresh(t, "file", func(s *File) { s.Path, s.Compress = path, c })
		err = s.Open(t.Context(), pipetest.Env())
		wantError(t, err, "fatal", path, fmt.Sprintf("at byte %d", len(whole)), "move it away")
		wantFile(t, path, string(whole)+"plain text of somebody else\n")
	}
	f(codec.CompressGzip)
	f(codec.CompressZstd)
}

// TestZstdFrames walks frames as other programs write them.
func TestZstdFrames(t *testing.T) {
	f := func(text string, options ...zstd.EOption) {
		t.Helper()
		z, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))...)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		one := z.EncodeAll([]byte(text), nil)
		var streamed bytes.Buffer
		z.Reset(&streamed)
		z.Write([]byte(text))
		z.Close()
		data := append(append([]byte(nil), one...), streamed.Bytes()...)
		got, err := wholeStreams(bytes.NewReader(append(data, one[:len(one)-1]...)), codec.CompressZstd)
		if err != nil || got != int64(len(data)) {
			t.Errorf("%d bytes of text: got %d, %v, want %d", len(text), got, err, len(data))
		}
	}
	f(strings.Repeat(fmt.Sprint(os.Args), 100), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	for _, n := range []int{1, 256, 70000} {
		f(strings.Repeat("a", n))
		f(strings.Repeat("abcdefg", n), zstd.WithEncoderCRC(false))
		f(strings.Repeat("xyz", n), zstd.WithSingleSegment(true))
	}
}
