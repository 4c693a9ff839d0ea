package dlq

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// MostBadLines is how many lines that are no dead letters are named one by one;
// further ones are counted.
const MostBadLines = 5

// Choice says which letters are meant.
type Choice struct {
	Where *expr.Bool // over the record; nil or zero means all
	Again bool       // also those that were replayed already
	Limit int64      // the first so many of them; 0 means all
}

// Selection is the letters of some files that were chosen to be replayed. Make
// one with Select, give its sources to a pipeline, and Close it in the end.
type Selection struct {
	Nodes     map[string]int64 // chosen letters by the node they failed at
	Chosen    int64
	Done      int64    // left out: replayed already
	Unwanted  int64    // left out: the condition does not hold, or the limit was reached
	Bad       int64    // lines that are no dead letters
	BadLines  []string // where and what the first MostBadLines of them are
	Truncated []error  // files that could not be read to their end
	files     []picked // in the order they were given
	choice    Choice

	mu      sync.Mutex // guards results
	results map[pipe.Outcome]int64
}

// picked is a file with chosen letters. It stays open: when it is put aside under
// another name, or deleted, its letters are still there.
type picked struct {
	path string
	file *os.File
	size int64 // on the disk, when it was looked at
	end  int64 // after the last chosen letter
	done *Done
}

// Select looks through files for the letters that are meant. With lock it is an
// error when another process replays one of the files.
func Select(paths []string, c Choice, lock bool) (_ *Selection, err error) {
	s := &Selection{Nodes: map[string]int64{}, choice: c, results: map[pipe.Outcome]int64{}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for _, path := range paths {
		if err := s.look(path, lock); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// look counts the letters of one file.
func (s *Selection) look(path string, lock bool) error {
	file, size, err := openFile(path)
	if err != nil {
		return err
	}
	s.files = append(s.files, picked{path: path, file: file, size: size})
	at := &s.files[len(s.files)-1]
	if lock {
		if err := lockFile(path, file); err != nil {
			return err
		}
	}
	r, err := newReader(path, file, size)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		f, err := r.Next()
		if at.done == nil && (err == nil || err == io.EOF) {
			var e error
			if at.done, e = LoadDone(path, r.Print()); e != nil {
				return e
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			s.Truncated = append(s.Truncated, err)
			return nil
		}
		take, err := s.count(&f, at.done)
		if err != nil {
			return err
		}
		if take {
			at.end = f.To
		}
	}
}

// count decides about a line and counts it.
func (s *Selection) count(f *Found, done *Done) (take bool, err error) {
	if f.Bad != nil {
		if s.Bad++; s.Bad <= MostBadLines {
			s.BadLines = append(s.BadLines, fmt.Sprintf("%s: %v", f.Place, f.Bad))
		}
		return false, nil
	}
	wanted, err := s.wants(f)
	switch {
	case err != nil:
		return false, err
	case !wanted, s.choice.Limit > 0 && s.Chosen == s.choice.Limit:
		s.Unwanted++
		return false, nil
	case !s.choice.Again && done.Has(f.From):
		s.Done++
		return false, nil
	}
	s.Chosen++
	s.Nodes[f.Node]++
	return true, nil
}

// wants reports whether the condition holds.
func (s *Selection) wants(f *Found) (bool, error) {
	ok, err := s.choice.Where.Eval(f.Record)
	if err != nil {
		return false, fmt.Errorf("%s: the condition does not fit: %w", f.Place, err)
	}
	return ok, nil
}

// Failed returns the nodes that chosen letters failed at, sorted.
func (s *Selection) Failed() []string { return slices.Sorted(maps.Keys(s.Nodes)) }

// Paths returns the files that are looked at.
func (s *Selection) Paths() []string {
	var list []string
	for _, p := range s.files {
		list = append(list, p.path)
	}
	return list
}

// settle notes the outcome of a letter.
func (s *Selection) settle(t *ticket, result pipe.Outcome) {
	if replayed(result) {
		t.done.Add(t.from, t.to)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[result]++
}

// replayed reports whether a letter with this outcome need not be replayed again:
// it was delivered, ended on purpose, or has become a dead letter anew. What was
// dropped has not arrived, although the source of it would forget it.
func replayed(o pipe.Outcome) bool { return o <= pipe.DeadLettered }

// Replayed returns how many letters need not be replayed again.
func (s *Selection) Replayed() (n int64) {
	for o, k := range s.Results() {
		if replayed(o) {
			n += k
		}
	}
	return n
}

// Results returns how many letters have ended how.
func (s *Selection) Results() map[pipe.Outcome]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.results)
}

// Save writes down what was replayed until now.
func (s *Selection) Save() error {
	var errs []error
	for _, p := range s.files {
		if p.done != nil {
			errs = append(errs, p.done.Save())
		}
	}
	return errors.Join(errs...)
}

// Close closes the files; other processes may replay them then.
func (s *Selection) Close() {
	for _, p := range s.files {
		p.file.Close() // it was only read
	}
}
