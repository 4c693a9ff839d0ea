package dlq

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// object makes a body of JSON text.
func object(t testing.TB, text string) record.Body {
	t.Helper()
	b, err := record.FromJSON([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sent writes a letter and reads it again, as a file in between does.
func sent(t testing.TB, l Letter) Letter {
	t.Helper()
	r := l.Record()
	line := r.AppendJSON(nil)
	if bytes.ContainsAny(line, "\r\n") || !json.Valid(line) {
		t.Fatalf("the record is no line of JSON: %q", line)
	}
	read := object(t, string(line))
	got, err := Parse(&read)
	if err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return got
}

// same compares letters; bodies by form and bytes.
func same(t testing.TB, got, want Letter) {
	t.Helper()
	if got.Event.IsText() != want.Event.IsText() || !bytes.Equal(got.Event.AppendText(nil), want.Event.AppendText(nil)) {
		t.Errorf("got event %q, want %q", got.Event.AppendText(nil), want.Event.AppendText(nil))
	}
	for _, at := range [][2]time.Time{{got.Time, want.Time}, {got.FirstTime, want.FirstTime}} {
		if !at[0].Equal(at[1]) {
			t.Errorf("got time %v, want %v", at[0], at[1])
		}
	}
	got.Event, want.Event = record.Body{}, record.Body{}
	got.Time, got.FirstTime, want.Time, want.FirstTime = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLetterIsReadAsItWasWritten(t *testing.T) {
	now := time.Now()
	f := func(event record.Body, metadata ...Entry) {
		t.Helper()
		want := Letter{Error: "no \"room\"\n", Class: pipe.Poison, Node: "a", Attempts: 3, Time: now, FirstTime: now.Add(-time.Hour), ID: "00ff",
			Origin: "in.log:3", Source: "in", Position: 12, Generation: 7, Replays: 2, Metadata: metadata, Event: event}
		same(t, sent(t, want), want)
	}
	f(record.FromText([]byte("a line")))
	f(record.FromText([]byte{}))
	f(record.FromText([]byte(`{"looks": "like JSON"}`)))
	f(record.FromText([]byte("two\r\nlines\x00\x1b \u2028 😀")))
	f(record.FromText([]byte("latin-1: \xe9\xff\xfe")))
	f(record.FromText([]byte("\ufffd is no damage")))
	f(object(t, `{}`))
	f(object(t, `{"a": 1.50, "b":[ ], "a":2,  "big":12345678901234567890, "e":1E400}`))
	f(object(t, `{"message":"only a message"}`))
	f(object(t, `{"event_base64":"eA==","error":1}`))
	f(record.FromText([]byte("x")), Entry{"path", "/in"}, Entry{"empty", ""})
	f(record.FromText([]byte("x")), Entry{"header", "caf\xe9"}, Entry{"plain", "as it is"})
	f(record.FromText([]byte("x")), Entry{"k\xe9y", "\xff"}, Entry{"k\xe8y", "\xfe"})
}

// TestLetterOfAnything: the same for events at random.
func TestLetterOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const odd = "{}[]\":,\\ \n\x00\x7f\xef\xbf\xbd\xe9"
	junk := func() []byte {
		b := make([]byte, r.IntN(24))
		for i := range b {
			if b[i] = byte('a' + r.IntN(26)); r.IntN(3) == 0 {
				b[i] = odd[r.IntN(len(odd))]
			}
		}
		return b
	}
	for range 5000 {
		want := Letter{Error: "e", Node: "n", ID: "1", Source: "s", Event: record.FromText(junk())}
		if r.IntN(2) == 0 {
			want.Event = record.NewObject(nil, 2)
			want.Event.Add(nil, "a", record.Text(junk()))
			want.Event.Add(nil, "b", record.Int(r.Int64(), nil))
			want.Event = object(t, string(want.Event.AppendJSON(nil)))
		}
		for i := range r.IntN(3) {
			want.Metadata = append(want.Metadata, Entry{string('a' + rune(i)), string(junk())})
		}
		same(t, sent(t, want), want)
	}
}

// FuzzLetter: text of any bytes comes back as it was.
func FuzzLetter(f *testing.F) {
	f.Add([]byte("a line"), "key", "value")
	f.Add([]byte("\xff{}"), "k\xff", "\x00")
	f.Fuzz(func(t *testing.T, text []byte, key, value string) {
		want := Letter{Node: "n", ID: "1", Source: "s", Metadata: []Entry{{key, value}}, Event: record.FromText(text)}
		same(t, sent(t, want), want)
	})
}

// FuzzParse: no record makes Parse panic, and a letter it takes is written and
// read as the same.
func FuzzParse(f *testing.F) {
	f.Add(`{"node":"a","id":"1","event":"x"}`)
	f.Add(`{"node":"a","id":"1","event":{"a":1},"metadata":{"a":"b"},"metadata_base64":[["YQ==","Yg=="]],"attempts":3}`)
	f.Fuzz(func(t *testing.T, text string) {
		body, err := record.FromJSON([]byte(text), nil)
		if err != nil {
			return
		}
		l, err := Parse(&body)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "not a dead letter: ") {
				t.Errorf("error %q", err)
			}
			return
		}
		if utf8.ValidString(text) && len(l.Metadata) < 2 {
			same(t, sent(t, l), l)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		body := object(t, text)
		if _, err := Parse(&body); err == nil || err.Error() != "not a dead letter: "+want {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	f(`{}`, "it has no node")
	f(`{"node":"a","event":"x"}`, "it has no id")
	f(`{"node":3,"id":"1","event":"x"}`, "node is no text")
	f(`{"node":"a","id":"1"}`, "event is neither text nor an object")
	f(`{"node":"a","id":"1","event":[1]}`, "event is neither text nor an object")
	f(`{"node":"a","id":"1","event":"x","attempts":"3"}`, "attempts is no whole number")
	f(`{"node":"a","id":"1","event":"x","position":-1}`, "position is no whole number")
	f(`{"node":"a","id":"1","event":"x","time":"yesterday"}`, "time is no time")
	f(`{"node":"a","id":"1","event":"x","metadata":"m"}`, "metadata is no object")
	f(`{"node":"a","id":"1","event":"x","metadata_base64":[["YQ=="]]}`, "metadata_base64 is no list of pairs")
	f(`{"node":"a","id":"1","event":"x","metadata_base64":[["?","?"]]}`, "metadata_base64 is no base64")
	f(`{"node":"a","id":"1","event":"x","event_base64":"?"}`, "event_base64 is no base64")
}

// TestOldLetters: what other versions have written is read, too.
func TestOldLetters(t *testing.T) {
	body := object(t, `{"error":"e","class":"poison","node":"a","attempts":1,"time":"2026-01-02T03:04:05Z","id":"1","origin":"o","event":{"a":1}}`)
	l, err := Parse(&body)
	if err != nil || l.Source != "a" || !l.FirstTime.IsZero() || l.Position != 0 || l.Metadata != nil {
		t.Errorf("error %v, letter %+v", err, l)
	}
}
