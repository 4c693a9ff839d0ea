package sources

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pipectl/pipectl/engine/pipe"
)

// known is what is remembered of one file. Its partition is its path; a later
// file under the same path (after a rotation) is path#2, path#3 and so on, so
// that positions of a partition only rise.
type known struct {
	partition string
	path      string // where it was last
	id        fileID
	print     fingerprint
	offset    int64 // everything before it is settled

	// Not kept in the checkpoint:
	at     int64 // where reading goes on; offset after a restart
	size   int64 // when last looked at, in bytes on disk
	length int64 // the same, also as Lag looked at it
	taken  int64 // bytes on disk read so far
	packed bool  // compressed: offsets count what comes out of it
	ended  bool  // gone for good; it is forgotten once offset is last
	last   int64 // offset after its last event
}

// book knows the files of a source and keeps their offsets in the checkpoint.
type book struct {
	path string // of the checkpoint, "" for none

	mu       sync.Mutex // guards what follows, and the contents of every known
	files    map[string]*known
	byInode  map[uint64][]*known
	ordinals map[string]int // the highest used per path
	unsaved  bool           // something was settled since the last save
}

func newBook(path string) *book {
	return &book{path: path, files: map[string]*known{}, byInode: map[uint64][]*known{}, ordinals: map[string]int{}}
}

// enter adds a file that is new.
func (b *book) enter(path string, id fileID, print fingerprint, size int64) *known {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ordinals[path]++
	k := &known{partition: path, path: path, id: id, print: print, size: size}
	if n := b.ordinals[path]; n > 1 {
		k.partition = path + "#" + strconv.Itoa(n)
	}
	b.put(k)
	return k
}

func (b *book) put(k *known) {
	b.files[k.partition] = k
	b.byInode[k.id.inode] = append(b.byInode[k.id.inode], k)
}

// drop forgets a file at once.
func (b *book) drop(k *known) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hide(k)
	delete(b.files, k.partition)
}

// update changes a known.
func (b *book) update(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// end notes that a file will not come back. It is forgotten once it is settled.
func (b *book) end(k *known) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bury(k)
}

func (b *book) bury(k *known) {
	b.hide(k)
	k.ended, k.size = true, k.at
	if k.offset >= k.last {
		delete(b.files, k.partition)
	}
}

// supersede ends the files with this identity, because it belongs to other
// content now. It reports whether there were any.
func (b *book) supersede(id fileID) (any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range slices.Clone(b.byInode[id.inode]) {
		if k.id == id {
			b.bury(k)
			any = true
		}
	}
	return any
}

// hide makes recall not find a file.
func (b *book) hide(k *known) {
	same := slices.DeleteFunc(b.byInode[k.id.inode], func(o *known) bool { return o == k })
	if b.byInode[k.id.inode] = same; len(same) == 0 {
		delete(b.byInode, k.id.inode)
	}
}

// all returns every known file.
func (b *book) all() []*known {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.files))
}

// recall returns what is known of a file with this identity, if its beginning
// is still the same. Device numbers may change when a machine restarts: a file
// that differs in nothing else counts as the same if it has its path, too.
func (b *book) recall(path string, id fileID, f io.ReaderAt, size int64) *known {
	b.mu.Lock()
	defer b.mu.Unlock()
	var best *known
	for _, k := range b.byInode[id.inode] {
		if k.id != id && k.path != path || size < k.print.bytes || !k.print.matches(f) {
			continue
		}
		if best == nil || k.id == id && ordinal(k) > ordinal(best) {
			best = k
		}
	}
	return best
}

// settle enters settled positions.
func (b *book) settle(marks []pipe.Mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range marks {
		k := b.files[m.Partition]
		if k == nil {
			continue
		}
		k.offset = max(k.offset, m.Position)
		b.unsaved = true
		if k.ended && k.offset >= k.last {
			delete(b.files, k.partition)
		}
	}
}

// checkpointFile is the JSON of a checkpoint.
type checkpointFile struct {
	Version *int              `json:"version"`
	Files   []checkpointEntry `json:"files"`
}

type checkpointEntry struct {
	Partition        string `json:"partition"`
	Path             string `json:"path"`
	Device           uint64 `json:"device"`
	Inode            uint64 `json:"inode"`
	Fingerprint      string `json:"fingerprint"`
	FingerprintBytes int64  `json:"fingerprint_bytes"`
	Offset           int64  `json:"offset"`
}

const checkpointVersion = 1

// load reads the checkpoint and reports whether there was one. A damaged one is
// an error, because reading everything again may be the last thing that is wanted.
func (b *book) load() (bool, error) {
	if b.path == "" {
		return false, nil
	}
	text, err := os.ReadFile(b.path)
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	if err := b.parse(text); err != nil {
		return false, fmt.Errorf("checkpoint %s is damaged: %w; restore it from a copy, or delete it to read every file from its start", b.path, err)
	}
	return true, nil
}

func (b *book) parse(text []byte) error {
	var c checkpointFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it is cut off after %d bytes", len(text))
	} else if err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the end of it at byte %d", d.InputOffset())
	}
	switch {
	case c.Version == nil:
		return errors.New("it has no version")
	case *c.Version != checkpointVersion:
		return fmt.Errorf("its version is %d, and this program knows %d", *c.Version, checkpointVersion)
	case c.Files == nil:
		return errors.New("it has no list of files")
	}
	for i, e := range c.Files {
		k := &known{partition: e.Partition, path: e.Path, id: fileID{e.Device, e.Inode}, offset: e.Offset, at: e.Offset}
		if err := k.print.parse(e.Fingerprint, e.FingerprintBytes); err != nil || e.Partition == "" || e.Path == "" || e.Offset < 0 {
			return fmt.Errorf("entry %d makes no sense", i+1)
		}
		if b.files[e.Partition] != nil {
			return fmt.Errorf("%q is in it twice", e.Partition)
		}
		b.put(k)
		b.ordinals[e.Path] = max(b.ordinals[e.Path], ordinal(k))
	}
	return nil
}

// ordinal returns which file under its path k is.
func ordinal(k *known) int {
	if i := strings.LastIndexByte(k.partition, '#'); i >= 0 && k.partition[:i] == k.path {
		if n, err := strconv.Atoi(k.partition[i+1:]); err == nil {
			return n
		}
	}
	return 1
}

// save writes the checkpoint. A crash at any moment leaves the old or the new one.
func (b *book) save() error {
	if b.path == "" {
		return nil
	}
	if err := writeFileAtomic(b.path, b.render()); err != nil {
		b.update(func() { b.unsaved = true })
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// saveRest saves what an earlier save could not.
func (b *book) saveRest() error {
	b.mu.Lock()
	unsaved := b.unsaved
	b.mu.Unlock()
	if !unsaved {
		return nil
	}
	return b.save()
}

func (b *book) render() []byte {
	version := checkpointVersion
	c := checkpointFile{Version: &version, Files: []checkpointEntry{}}
	b.mu.Lock()
	b.unsaved = false
	for _, k := range b.files {
		c.Files = append(c.Files, checkpointEntry{k.partition, k.path, k.id.device, k.id.inode, k.print.String(), k.print.bytes, k.offset})
	}
	b.mu.Unlock()
	slices.SortFunc(c.Files, func(a, b checkpointEntry) int { return cmp.Compare(a.Partition, b.Partition) })
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return append(text, '\n')
}

// writeFileAtomic replaces a file by one that only its owner can read. After it
// returns the new content survives a loss of power.
func writeFileAtomic(path string, content []byte) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
