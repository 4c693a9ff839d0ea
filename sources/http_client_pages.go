package sources

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

// place is where a request of the http_client source goes, as its checkpoint keeps
// it.
type place struct {
	Page     int64  `json:"page"`               // counts the pages
	Cursor   string `json:"cursor"`             // what {cursor} stands for
	URL      string `json:"url,omitempty"`      // of the next page; empty for the beginning of a poll
	ETag     string `json:"etag,omitempty"`     // of what Of gave last
	Modified string `json:"modified,omitempty"` // the same
	Of       string `json:"of,omitempty"`
}

// settledPart says how much of a page is settled, though it or one before it is
// still open.
type settledPart struct {
	Page     int64  `json:"page"`
	Digest   string `json:"digest"`
	Position int64  `json:"position"`
}

// maxParts is how many parts a checkpoint keeps. Of further pages all is read again.
const maxParts = 1000

// openPage is a page whose events are not all settled.
type openPage struct {
	at, after place // before and behind it
	digest    string
	partition string
	reader    *codec.Reader
	last      int64 // position of its last event so far
	mark      int64 // and of the last one that is settled
	ended     bool  // last is final
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// pageBook knows the pages that are not settled, in order, and keeps the first place
// that is not.
type pageBook struct {
	path string // of the checkpoint, "" for none

	mu      sync.Mutex // guards what follows
	settled place
	open    []*openPage
	parts   []settledPart // of pages that the last run had open, and this one has not seen yet
	unsaved bool
}

// begin enters a page and returns how much of it was settled before.
func (b *pageBook) begin(p *openPage) (skip int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parts = slices.DeleteFunc(b.parts, func(part settledPart) bool {
		if part.Page == p.at.Page && part.Digest == p.digest {
			skip = part.Position
		}
		return part.Page <= p.at.Page
	})
	p.last, p.mark = skip, skip
	b.open = append(b.open, p)
	return skip
}

// read notes the position of the last event that was read of p.
func (b *pageBook) read(p *openPage, last int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.last = max(p.last, last)
}

// end notes that there are no further events in p.
func (b *pageBook) end(p *openPage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.ended = true
	if n := len(b.open); n > 1 && p.last == 0 && b.open[n-2].ended { // it has none, and need not be remembered
		b.open[n-2].after = p.after
		b.open = b.open[:n-1]
	}
	b.advance()
}

// settle enters settled positions.
func (b *pageBook) settle(marks []pipe.Mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range marks {
		for _, p := range b.open {
			if p.partition == m.Partition && m.Position > p.mark {
				p.mark, b.unsaved = m.Position, true
			}
		}
	}
	b.advance()
}

// advance is called with mu held.
func (b *pageBook) advance() {
	for len(b.open) > 0 && b.open[0].ended && b.open[0].mark >= b.open[0].last {
		b.settled, b.unsaved = b.open[0].after, true
		b.open[0] = nil
		b.open = b.open[1:]
	}
}

// pagesFile is the JSON of a checkpoint.
type pagesFile struct {
	Version  int           `json:"version"`
	Checksum string        `json:"checksum"` // of the rest
	Place    place         `json:"place"`
	Parts    []settledPart `json:"parts,omitempty"`
}

func (f pagesFile) sum() string {
	f.Checksum = ""
	text, err := json.Marshal(f)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return digestOf(text)
}

// load reads the checkpoint; start is where to begin without one.
func (b *pageBook) load(start place) (place, error) {
	b.settled = start
	if b.path == "" {
		return start, nil
	}
	text, err := os.ReadFile(b.path)
	if os.IsNotExist(err) {
		return start, nil
	} else if err != nil {
		return start, fmt.Errorf("checkpoint: %w", err)
	}
	var f pagesFile
	if err := json.Unmarshal(text, &f); err != nil || f.Version != 1 || f.Checksum != f.sum() || f.Place.Page < 1 {
		return start, fmt.Errorf("checkpoint %s is damaged, or not one of this source; restore it from a copy, or delete it to begin at start", b.path)
	}
	b.settled, b.parts = f.Place, f.Parts
	return f.Place, nil
}

// save writes the checkpoint, if something has changed or it must.
func (b *pageBook) save(must bool) error {
	b.mu.Lock()
	unsaved := b.unsaved || must
	f := pagesFile{Version: 1, Place: b.settled}
	for _, p := range b.open {
		if p.mark > 0 {
			f.Parts = append(f.Parts, settledPart{p.at.Page, p.digest, p.mark})
		}
	}
	f.Parts = append(f.Parts, b.parts...)
	f.Parts = f.Parts[:min(len(f.Parts), maxParts)]
	b.unsaved = false
	b.mu.Unlock()
	if b.path == "" || !unsaved {
		return nil
	}
	f.Checksum = f.sum()
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	if err := writeFileAtomic(b.path, append(text, '\n')); err != nil {
		b.mu.Lock()
		b.unsaved = true
		b.mu.Unlock()
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}
