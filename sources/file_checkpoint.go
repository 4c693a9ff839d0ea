package sources

import (
	"io"
	"maps"
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

// ordinal returns which file under its path k is.
func ordinal(k *known) int {
	if i := strings.LastIndexByte(k.partition, '#'); i >= 0 && k.partition[:i] == k.path {
		if n, err := strconv.Atoi(k.partition[i+1:]); err == nil {
			return n
		}
	}
	return 1
}
