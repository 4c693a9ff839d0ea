package sinks

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// TestFileSucceeds puts a sink in the place of one that is at work on the same
// file: nothing of what that one wrote is lost, whatever mode says.
func TestFileSucceeds(t *testing.T) {
	f := func(mode string, c codec.Compression) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "out")
		make := func() *File {
			return fresh(t, "file", func(s *File) { s.Path, s.Mode, s.Compress = path, mode, c })
		}
		env := pipe.Env{Log: slog.New(slog.DiscardHandler), MaxEventBytes: 1 << 20}
		write := func(s *File, line string) {
			t.Helper()
			if err := s.Write(t.Context(), []*pipe.Event{{Body: record.FromText([]byte(line))}}); err != nil {
				t.Fatal(err)
			}
		}
		first, second := make(), make()
		if err := first.Open(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		write(first, "one")
		env.Predecessor = first
		if err := second.Open(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		write(first, "two")
		if err := first.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		write(second, "three")
		if err := second.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := unpacked(t, path, c); got != "one\ntwo\nthree\n" {
			t.Errorf("%s, %v: got %q", mode, c, got)
		}
	}
	for _, mode := range []string{modeAppend, modeTruncate, modeExclusive} {
		f(mode, codec.CompressNone)
		f(mode, codec.CompressGzip)
		f(mode, codec.CompressZstd)
	}
}
