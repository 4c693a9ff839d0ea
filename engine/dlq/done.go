package dlq

import (
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
	"sync"
)

// DoneSuffix is what the name of a file of dead letters gets for the file that
// remembers what of it was replayed.
const DoneSuffix = ".done"

// doneVersion is the format of such a file.
const doneVersion = 1

// mostPrints bounds how many files one done file remembers: the present one, and
// those that had its name before they were put aside.
const mostPrints = 32

// Done remembers which dead letters of a file were replayed. The file is known by
// its first line, so that neither a file that was begun anew nor one that was
// put aside under another name is taken for what it is not.
type Done struct {
	path   string // of the done file
	print  string
	others []doneEntry // of other files that had the name

	mu    sync.Mutex // guards what follows
	spans []span
	dirty bool
}

// span is a run of letters that were replayed, by their place in the file.
type span [2]int64

// doneFile is the JSON of a done file.
type doneFile struct {
	Version *int        `json:"version"`
	Files   []doneEntry `json:"files"`
}

type doneEntry struct {
	First string `json:"first_line"` // Reader.Print
	Done  []span `json:"done"`
}

// LoadDone reads what was replayed of the file of dead letters at path, which
// begins as print says. Files next to it are looked at when its own done file does
// not know it: it may have had another name. A damaged one is an error.
func LoadDone(path, print string) (*Done, error) {
	d := &Done{path: path + DoneSuffix, print: print}
	entries, err := readDone(d.path)
	if err != nil {
		return nil, err
	}
	found := false
	for _, e := range entries {
		if e.First == print {
			d.spans, found = e.Done, true
		} else {
			d.others = append(d.others, e)
		}
	}
	if found || print == "" {
		return d, nil
	}
	return d, d.inherit()
}

// inherit looks for the file under the names that it may have had.
func (d *Done) inherit() error {
	dir := filepath.Dir(d.path)
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, n := range names {
		path := filepath.Join(dir, n.Name())
		if !strings.HasSuffix(n.Name(), DoneSuffix) || path == filepath.Clean(d.path) {
			continue
		}
		entries, err := readDone(path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.First == d.print {
				d.spans = e.Done
				return nil
			}
		}
	}
	return nil
}

func readDone(path string) ([]doneEntry, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := parseDone(text)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; delete it to replay every letter again", path, err)
	}
	return entries, nil
}

func parseDone(text []byte) ([]doneEntry, error) {
	var f doneFile
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("it is cut off after %d bytes", len(text))
	} else if err != nil {
		return nil, err
	}
	switch _, err := dec.Token(); {
	case err != io.EOF:
		return nil, fmt.Errorf("something follows the end of it at byte %d", dec.InputOffset())
	case f.Version == nil || *f.Version != doneVersion:
		return nil, fmt.Errorf("its version is not %d", doneVersion)
	}
	for i, e := range f.Files {
		last := int64(-1)
		for _, s := range e.Done {
			if s[0] <= last || s[1] <= s[0] {
				return nil, fmt.Errorf("entry %d makes no sense", i+1)
			}
			last = s[1]
		}
	}
	return f.Files, nil
}

// Has reports whether the letter that begins at from was replayed.
func (d *Done) Has(from int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, exact := d.at(from)
	return exact || i > 0 && from < d.spans[i-1][1]
}

// at returns where a span that begins at from is, or would be.
func (d *Done) at(from int64) (int, bool) {
	return slices.BinarySearchFunc(d.spans, from, func(s span, from int64) int {
		switch {
		case s[0] < from:
			return -1
		case s[0] > from:
			return 1
		}
		return 0
	})
}

// Add notes that the letter from there to there was replayed.
func (d *Done) Add(from, to int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, _ := d.at(from)
	if i > 0 && from < d.spans[i-1][1] || i < len(d.spans) && d.spans[i][0] < to {
		return // it is there already: replayed again
	}
	d.dirty = true
	before, after := i > 0 && d.spans[i-1][1] == from, i < len(d.spans) && d.spans[i][0] == to
	switch {
	case before && after:
		d.spans[i-1][1] = d.spans[i][1]
		d.spans = slices.Delete(d.spans, i, i+1)
	case before:
		d.spans[i-1][1] = to
	case after:
		d.spans[i][0] = from
	default:
		d.spans = slices.Insert(d.spans, i, span{from, to})
	}
}

// Save writes the done file if there is something new. A crash at any moment
// leaves the old or the new one.
func (d *Done) Save() error {
	d.mu.Lock()
	if !d.dirty {
		d.mu.Unlock()
		return nil
	}
	d.dirty = false
	version := doneVersion
	f := doneFile{Version: &version, Files: []doneEntry{{d.print, slices.Clone(d.spans)}}}
	d.mu.Unlock()
	f.Files = append(f.Files, d.others[:min(len(d.others), mostPrints-1)]...)
	text, err := json.Marshal(f)
	if err == nil {
		err = replaceFile(d.path, append(text, '\n'))
	}
	if err != nil {
		d.mu.Lock()
		d.dirty = true
		d.mu.Unlock()
		return fmt.Errorf("%s, which says what was replayed: %w", d.path, err)
	}
	return nil
}

// replaceFile replaces a file by one that only its owner can read. After it
// returns the new content survives a loss of power.
func replaceFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
