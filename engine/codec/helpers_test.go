package codec

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

const plenty = 1 << 20

// item is one decoded event or failure, for comparison.
type item struct {
	text string // as the encoder of its format writes it; a failure: its text
	fail string // the error, "" for an event
	pos  int64
}

func (i item) String() string { return fmt.Sprintf("%q@%d!%s", i.text, i.pos, i.fail) }

// collect reads r to its end. Events and failures come in order of position.
func collect(t testing.TB, r *Reader) (items []item, origins []string, err error) {
	t.Helper()
	var b pipe.Batch
	for {
		b.Reset(nil, "src", 0)
		err := r.Read(&b)
		if err != nil && b.Len() > 0 {
			t.Fatalf("read gave %d events together with error %v", b.Len(), err)
		}
		if err == io.EOF {
			return items, origins, nil
		}
		if err != nil {
			return items, origins, err
		}
		if b.Len() == 0 || b.Len() > maxEvents {
			t.Fatalf("read gave %d events", b.Len())
		}
		events, failed, _ := b.Take(time.Now())
		for len(events)+len(failed) > 0 {
			if len(failed) == 0 || len(events) > 0 && events[0].Position() < failed[0].Event.Position() {
				e := events[0]
				items = append(items, item{text: text(e), pos: e.Position()})
				origins = append(origins, e.Origin())
				events = events[1:]
				continue
			}
			f := failed[0]
			items = append(items, item{text: text(f.Event), pos: f.Event.Position(), fail: f.Err.Error()})
			origins = append(origins, f.Event.Origin())
			if c := pipe.ClassOf(f.Err, ""); c != pipe.Poison {
				t.Fatalf("class of %v is %q", f.Err, c)
			}
			failed = failed[1:]
		}
	}
}

func text(e *pipe.Event) string {
	if e.Body.IsText() {
		return string(e.Body.AppendText(nil))
	}
	return string(e.Body.AppendJSON(nil))
}

// read decodes input in one piece.
func read(t testing.TB, c Codec, input string, maxEvent int) []item {
	t.Helper()
	items, _, err := collect(t, c.NewReader(strings.NewReader(input), maxEvent))
	if err != nil {
		t.Fatalf("%s: %q: %v", c.Type, input, err)
	}
	return items
}

// texts is the text of items, failures as !error.
func texts(items []item) string {
	var all []string
	for _, i := range items {
		if i.fail != "" {
			all = append(all, "!"+i.fail)
			continue
		}
		all = append(all, i.text)
	}
	return strings.Join(all, "|")
}

// torn reads in random small pieces, sometimes nothing, sometimes with EOF.
type torn struct {
	data string
	rng  *rand.Rand
	most int
}

func (r *torn) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(r.data), r.rng.IntN(r.most+1))
	copy(p, r.data[:n])
	r.data = r.data[n:]
	if len(r.data) == 0 && r.rng.IntN(2) == 0 {
		return n, io.EOF
	}
	return n, nil
}
