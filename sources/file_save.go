package sources

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// A checkpoint is replaced as a whole: a new file is written, forced to the
// disk, and given the name of the old one. So there is always the old or the new
// one, never a part, whenever the process or the machine dies. Damage of another
// kind (a bad disk, an editor) shows in the checksum: a position that nobody has
// settled would skip input without a word.

// checkpointFile is the JSON of a checkpoint.
type checkpointFile struct {
	Version  *int              `json:"version"`
	Checksum string            `json:"checksum,omitempty"` // of the rest; without one it was written by hand
	Files    []checkpointEntry `json:"files"`
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

func (k *known) entry() checkpointEntry {
	return checkpointEntry{k.partition, k.path, k.id.device, k.id.inode, k.print.String(), k.print.bytes, k.offset}
}

const checkpointVersion = 1

// sum is what Checksum must be.
func (c checkpointFile) sum() string {
	c.Checksum = ""
	text, err := json.Marshal(c)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// load reads the checkpoint and reports whether there was one. A damaged one is
// an error: to go on at a wrong place would lose input, and to read everything
// again may be the last thing that is wanted.
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
		return false, b.damaged(err)
	}
	return true, nil
}

// damaged says what to do about a checkpoint that cannot be trusted.
func (b *book) damaged(why error) error {
	return fmt.Errorf("checkpoint %s is damaged: %w; restore it from a copy, or delete it to read every file from its start", b.path, why)
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
	case c.Checksum != "" && c.Checksum != c.sum():
		return errors.New("its content does not fit its checksum (if it was edited by hand, remove the line of the checksum)")
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
		c.Files = append(c.Files, k.entry())
	}
	b.mu.Unlock()
	slices.SortFunc(c.Files, func(a, b checkpointEntry) int { return cmp.Compare(a.Partition, b.Partition) })
	c.Checksum = c.sum()
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
