package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// crashRate is how many events a second the pipelines let through while they are
// killed; a run that is not takes two seconds and more.
const crashRate = 4_000

// fileInput are files that a file source reads, with a checkpoint.
type fileInput struct {
	files  []string
	lines  int     // per file
	ends   [][]int // of each line
	mark   []int   // settled according to the checkpoint, in bytes
	follow bool    // the files grow from run to run, and there is no end
	grown  int     // lines that are written so far, per file
}

func newFileInput(w *world, files, lines int, follow bool) (*fileInput, error) {
	in := &fileInput{lines: lines, mark: make([]int, files), ends: make([][]int, files), follow: follow}
	for i := range files {
		in.files = append(in.files, fmt.Sprintf("in.%d", i))
		end := 0
		for n := range lines {
			end += len(crashLine(i*lines+n)) + 1
			in.ends[i] = append(in.ends[i], end)
		}
		if err := os.WriteFile(filepath.Join(w.dir, in.files[i]), nil, 0o600); err != nil {
			return nil, err
		}
	}
	if !follow {
		return in, in.grow(w, lines)
	}
	return in, nil
}

// grow appends lines to each file, up to the given one.
func (in *fileInput) grow(w *world, to int) error {
	for i, name := range in.files {
		f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		out := bufio.NewWriter(f)
		for n := in.grown; n < to; n++ {
			out.WriteString(crashLine(i*in.lines+n) + "\n")
		}
		if err := errors.Join(out.Flush(), f.Close()); err != nil {
			return err
		}
	}
	in.grown = to
	return nil
}

func (in *fileInput) begin(w *world) error {
	if in.follow && in.grown < in.lines {
		return in.grow(w, min(in.lines, in.grown+in.lines/8+1))
	}
	return nil
}

// saved reads the checkpoint as it is on disk: how many bytes of each file are
// settled.
func (in *fileInput) saved(w *world) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(w.dir, "state"))
	if errors.Is(err, fs.ErrNotExist) {
		return make([]int, len(in.files)), nil
	}
	if err != nil {
		return nil, err
	}
	return in.parse(text)
}

func (in *fileInput) parse(text []byte) ([]int, error) {
	var c struct {
		Files []struct {
			Path   string
			Offset int
		}
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("the checkpoint is torn: %w", err)
	}
	mark := make([]int, len(in.files))
	for _, f := range c.Files {
		if i := slices.Index(in.files, filepath.Base(f.Path)); i >= 0 {
			mark[i] = f.Offset
		}
	}
	return mark, nil
}

// check demands that the checkpoint only rises, that everything before it has
// arrived, and that nothing before the last one has come again.
func (in *fileInput) check(w *world, was, is arrivals) error {
	mark, err := in.saved(w)
	if err != nil {
		return err
	}
	for i := range in.files {
		if mark[i] < in.mark[i] {
			return fmt.Errorf("the checkpoint of %s fell from %d to %d", in.files[i], in.mark[i], mark[i])
		}
		for n, end := range in.ends[i] {
			line := i*in.lines + n
			if end <= mark[i] && is[line] == 0 {
				return fmt.Errorf("line %d is lost: the checkpoint says %d, the line ends at %d", line, mark[i], end)
			}
			if end <= in.mark[i] && is[line] > was[line] {
				return fmt.Errorf("line %d came again, though it was settled before the run: the checkpoint said %d, the line ends at %d", line, in.mark[i], end)
			}
			if is[line] > was[line]+1 && !w.loses {
				return fmt.Errorf("line %d came %d times in one run", line, is[line]-was[line])
			}
		}
	}
	in.mark = mark
	return in.bounded(w, again(was, is))
}

// bounded demands that no more comes again than what was in flight and what was
// settled since the last save, a second before; a busy machine may save late.
func (in *fileInput) bounded(w *world, n int) error {
	w.longest = max(w.longest, n)
	if most := 2*crashRate + 1024; n > most {
		return fmt.Errorf("%d events came again, more than %d", n, most)
	}
	return nil
}

func (in *fileInput) complete(w *world) error {
	if in.follow {
		if err := in.grow(w, in.lines); err != nil {
			return err
		}
		if err := in.awaitAll(w); err != nil {
			return err
		}
		if err := w.terminate(); err != nil {
			return err
		}
	}
	w.now.Wait()
	mark, err := in.saved(w)
	for i := range in.files {
		if want := in.ends[i][in.lines-1]; err == nil && mark[i] != want {
			err = fmt.Errorf("the last checkpoint of %s is %d, want %d", in.files[i], mark[i], want)
		}
	}
	return err
}

// awaitAll waits until the checkpoint says that everything is settled.
func (in *fileInput) awaitAll(w *world) error {
	for range 1000 {
		mark, err := in.saved(w)
		if err != nil {
			return err
		}
		done := true
		for i := range in.files {
			done = done && mark[i] == in.ends[i][in.lines-1]
		}
		if done {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("not everything was settled within 20 s")
}

// fileOutput is the folder that a file sink writes to.
type fileOutput struct {
	dir   string
	lines int
	was   arrivals
}

func (o *fileOutput) begin(int) (args []string, err error) {
	o.was, err = o.read()
	return nil, err
}

func (o *fileOutput) arrived() (was, is arrivals, err error) {
	is, err = o.read()
	return o.was, is, err
}

func (o *fileOutput) read() (arrivals, error) {
	all := make(arrivals, o.lines)
	err := filepath.WalkDir(o.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // nothing was written yet
			return nil
		}
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".torn") {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			data, err = wholeMembers(data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for line := range bytes.Lines(data) {
			text, whole := strings.CutSuffix(string(line), "\n")
			if !whole {
				continue // the last one, in the middle of which the process was killed
			}
			if err := all.add(text); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		return nil
	})
	return all, err
}

// wholeMembers unpacks gzip up to a last, unfinished member.
func wholeMembers(data []byte) (text []byte, err error) {
	src := bytes.NewReader(data)
	z := new(gzip.Reader)
	for src.Len() > 0 {
		if err := z.Reset(src); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return text, nil
		} else if err != nil {
			return nil, err
		}
		z.Multistream(false)
		member, err := io.ReadAll(z)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return text, nil
		} else if err != nil {
			return nil, err
		}
		text = append(text, member...)
	}
	return text, nil
}
