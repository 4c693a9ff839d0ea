package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func TestLines(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := texts(read(t, Lines(), in, 5)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("a\nb\n", "a|b")
	f("a\nb", "a|b")
	f("a\r\nb\r\n", "a|b")
	f("a\rb\n", "a\rb")
	f("a\r\r\n", "a\r")
	f("a\r", "a")
	f("a\n\n\nb\n", "a|||b")
	f("\n", "")
	f("\xef\xbb\xbfa\n\xef\xbb\xbfb\n", "a|\xef\xbb\xbfb")
	f("\xef\xbb\xbf", "")
	f("\xef\xbb", "\xef\xbb")
	f("\xff\xfe\x00\n", "\xff\xfe\x00")
	f("12345\n12345\r\n12345", "12345|12345|12345")
	const tooLarge = "!line is larger than limits.max_event_bytes (5B): "
	f("123456\nx\n", tooLarge+"7 bytes|x")
	f("x\n1234567\r\ny\n", "x|"+tooLarge+"9 bytes|y")
	f("123456", tooLarge+"6 bytes")
	f("12345\r\r\n", tooLarge+"8 bytes")
}

func TestLinesEmptyEvents(t *testing.T) {
	if got := read(t, Lines(), "\n\r\n\n", plenty); len(got) != 3 {
		t.Errorf("got %v, want three empty events", got)
	}
	if got := read(t, Lines(), "", plenty); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

func TestRaw(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := texts(read(t, Raw(), in, 5)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("a\nb\n", "a\nb\n")
	f("a\r\n", "a\r\n")
	f("12345", "12345")
	f("123456", "!input is larger than limits.max_event_bytes (5B): 6 bytes")
	f(strings.Repeat("x", 200_000), "!input is larger than limits.max_event_bytes (5B): 200000 bytes")
}

func TestPositionsAndOrigins(t *testing.T) {
	f := func(c Codec, in, positions, origins string) {
		t.Helper()
		r := c.NewReader(strings.NewReader(in), plenty)
		r.Partition = "f"
		items, at, err := collect(t, r)
		var pos []string
		for _, i := range items {
			pos = append(pos, fmt.Sprint(i.pos))
		}
		if got := strings.Join(pos, " "); got != positions || err != nil {
			t.Errorf("%s %q: got positions %s, %v, want %s", c.Type, in, got, err, positions)
		}
		if got := strings.Join(at, " "); got != origins {
			t.Errorf("%s %q: got origins %s, want %s", c.Type, in, got, origins)
		}
	}
	f(Lines(), "a\r\n\nbc", "3 4 6", "f:1 f:2 f:3")
	f(Lines(), "\xef\xbb\xbfa\n", "5", "f:1")
	f(NDJSON(), "{}\n\n\r\n{}\n{}", "3 9 11", "f:1 f:4 f:5")
	f(JSON(), "{}\n{}\n\n{}\n", "2 5 9", "f:1 f:2 f@9")
	f(CSV(), "a,b\n1,2\n\n\"x\ny\",2\n3,4\n", "8 17 21", "f:2 f:4 f:6")
	f(Raw(), "abc", "3", "f:1")
	f(NDJSON(), "{}\n{]\n{}\n", "3 6 9", "f:1 f:2 f:3")
}

// Where values share lines, origins fall back to offsets; they are never wrong.
func TestJSONLineNumbersAreRightOrAbsent(t *testing.T) {
	in := "{}\n{\n}\n[{},{}, {}]\n{}\n"
	want := map[string]bool{"f:1": true, "f:2": true, "f@6": true, "f:4": true, "f@10": true, "f@13": true,
		"f@17": true, "f:5": true, "f@21": true}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := JSON()
		r := c.NewReader(&torn{in, rng, 1 + rng.IntN(9)}, plenty)
		r.Partition = "f"
		items, at, err := collect(t, r)
		if err != nil || len(items) != 6 {
			t.Fatalf("seed %d: got %v, %v", seed, items, err)
		}
		for i, o := range at {
			if !want[o] {
				t.Errorf("seed %d: event %d: origin %s is not right", seed, i, o)
			}
		}
	}
}

// However the input arrives, every origin is the line where the event begins.
func TestLineNumbersAreRight(t *testing.T) {
	f := func(c Codec, in string, want ...string) {
		t.Helper()
		for seed := range uint64(300) {
			rng := rand.New(rand.NewPCG(seed, 2))
			r := c.NewReader(&torn{in, rng, 1 + rng.IntN(12)}, 50)
			r.Partition = "f"
			_, origins, err := collect(t, r)
			if err != nil || !slices.Equal(origins, want) {
				t.Fatalf("%s %q, seed %d: got %q, %v, want %q", c.Type, in, seed, origins, err, want)
			}
		}
	}
	f(Lines(), "a\n\nb\r\nc", "f:1", "f:2", "f:3", "f:4")
	f(NDJSON(), "\n\n{}\n{}\n \n{\n{}\n"+strings.Repeat("x", 60)+"\n\n{}", "f:3", "f:4", "f:6", "f:7", "f:8", "f:10")
	f(CSV(), "\na\n1\n\n\"2\n\"\n3\n\""+strings.Repeat("x\n", 40)+"\"\n4\n", "f:3", "f:5", "f:7", "f:8", "f:49")
}

func TestReadGivesWhatIsThere(t *testing.T) {
	for _, c := range []Codec{Lines(), JSON(), NDJSON(), CSV()} {
		in, out := io.Pipe()
		r := c.NewReader(in, plenty)
		var b pipe.Batch
		go io.WriteString(out, "{}\n{}\n{")
		for n := 0; n < 2; {
			b.Reset(nil, "src", 0)
			if err := r.Read(&b); err != nil { // must not wait for the rest
				t.Fatal(err)
			}
			n += b.Len()
			if c.Type == TypeCSV {
				n++ // the header
			}
		}
		out.Close()
	}
}

func TestGrowing(t *testing.T) {
	var src bytes.Buffer
	c := Lines()
	r := c.NewReader(&src, plenty)
	r.Growing = true
	var b pipe.Batch
	f := func(write string, want ...string) {
		t.Helper()
		src.WriteString(write)
		b.Reset(nil, "src", 0)
		err := r.Read(&b)
		if len(want) == 0 {
			if err != io.EOF || b.Len() != 0 {
				t.Errorf("after %q: got %d events, %v, want EOF", write, b.Len(), err)
			}
			return
		}
		var got []string
		events, _, _ := b.Take(time.Now())
		for _, e := range events {
			got = append(got, text(e))
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("after %q: got %q, %v, want %q", write, got, err, want)
		}
	}
	f("")
	f("a\nb", "a")
	f("")
	f("c")
	if r.Pending() != 2 || r.Offset() != 2 {
		t.Errorf("got %d pending after %d, want 2 and 2", r.Pending(), r.Offset())
	}
	f("d\n", "bcd")
	f("tail")
	f("")
	r.Growing = false
	f("", "tail")
	f("")
	f("more\n") // the end is final now
}

func TestLastLeavesBlankLinesOut(t *testing.T) {
	f := func(c Codec, in string) {
		t.Helper()
		for _, limit := range []int{4, plenty} {
			r := c.NewReader(strings.NewReader(in), limit)
			items, _, err := collect(t, r)
			if err != nil || r.Last() != items[len(items)-1].pos || r.Offset() != int64(len(in)) {
				t.Errorf("%s %q: got last %d and offset %d, %v", c.Type, in, r.Last(), r.Offset(), err)
			}
		}
	}
	f(Lines(), "a\nbc")
	f(Lines(), "12345\n")
	f(NDJSON(), "{}\n{}\n\n\n")
	f(NDJSON(), "{}\n{\n\n")
	f(JSON(), "[{},\n{}]\n\n")
	f(JSON(), "{}\n{}\n\n")
	f(JSON(), "{}\n{]\n\n")
	f(CSV(), "a\n1\n\n")
	f(CSV(), "a\n1,2\n\n")
	f(Raw(), "1\n\n")
	f(Raw(), "12345\n")
}

// repeat is an endless line and then a short one, and notes the memory used.
type repeat struct {
	left  int64
	tail  string
	block []byte
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left == 0 {
		n := copy(p, r.tail)
		r.tail = r.tail[n:]
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n := int(min(int64(len(p)), r.left))
	for i := 0; i < n; i += len(r.block) {
		copy(p[i:n], r.block)
	}
	r.left -= int64(n)
	return n, nil
}

func TestHugeLineNeedsConstantMemory(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 1 << 26
	}
	for _, c := range []Codec{Lines(), NDJSON(), Raw()} {
		const limit = 1 << 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		src := &repeat{left: size, tail: "\n{\"a\":1}\n", block: bytes.Repeat([]byte{'x'}, 1<<16)}
		got := []item{}
		items, _, err := collect(t, c.NewReader(src, limit))
		got = append(got, items...)
		runtime.ReadMemStats(&after)
		if err != nil || len(got) == 0 || len(got[0].text) != excerpt || !strings.Contains(got[0].fail, "larger than limits.max_event_bytes (1MiB)") {
			t.Fatalf("%s: got %.80v, %v", c.Type, got, err)
		}
		if c.Type != TypeRaw && (len(got) != 2 || got[1].text != `{"a":1}`) {
			t.Errorf("%s: got %d events, want the line after the huge one", c.Type, len(got))
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 8*limit {
			t.Errorf("%s: allocated %d bytes for a line of %d with a limit of %d", c.Type, used, size, limit)
		}
		size = 1 << 26
	}
}

func TestSourceErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	c := Lines()
	r := c.NewReader(io.MultiReader(strings.NewReader("a\nb"), errReader{broken}), plenty)
	items, _, err := collect(t, r)
	if texts(items) != "a" || err != broken {
		t.Errorf("got %v, %v, want a and the error; the half line must not appear", items, err)
	}
	var b pipe.Batch
	b.Reset(nil, "src", 0)
	if err := r.Read(&b); err != broken {
		t.Errorf("got %v, want the error again", err)
	}
	r = c.NewReader(errReader{}, plenty)
	if err := r.Read(&b); err != io.ErrNoProgress {
		t.Errorf("got %v, want no progress", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// Events point into the read buffer: nothing may write to it afterwards.
func TestEventsKeepTheirBytes(t *testing.T) {
	var in strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&in, "line %d\n", i)
		if i%1000 == 0 {
			in.WriteString(strings.Repeat("z", 30_000) + "\n") // too large
		}
	}
	c := Lines()
	r := c.NewReader(&torn{in.String(), rand.New(rand.NewPCG(1, 1)), 9000}, 10_000)
	var all []*pipe.Event
	for {
		var b pipe.Batch
		b.Reset(nil, "src", 0)
		if r.Read(&b) == io.EOF {
			break
		}
		events, _, _ := b.Take(time.Now())
		all = append(all, events...)
	}
	if len(all) != 20_000 {
		t.Fatalf("got %d events", len(all))
	}
	for i, e := range all {
		if want := fmt.Sprintf("line %d", i); text(e) != want {
			t.Fatalf("got %q, want %q", text(e), want)
		}
	}
}

func TestDecode(t *testing.T) {
	f := func(c Codec, in, want string) {
		t.Helper()
		var b pipe.Batch
		b.Reset(nil, "src", 0)
		b.Begin(1)
		if err := c.Decode(&b, []byte(in), plenty); err != nil {
			t.Fatal(err)
		}
		b.End()
		var got []string
		events, failed, _ := b.Take(time.Now())
		for _, e := range events {
			got = append(got, text(e))
		}
		for _, e := range failed {
			got = append(got, "!"+e.Err.Error())
		}
		if g := strings.Join(got, "|"); g != want {
			t.Errorf("%s %q: got %s, want %s", c.Type, in, g, want)
		}
		if b.Messages() != 1 {
			t.Errorf("%s %q: got %d messages, want one", c.Type, in, b.Messages())
		}
	}
	f(Lines(), "a\nb", "a|b")
	f(JSON(), `[{"a":1},{"a":2}]`, `{"a":1}|{"a":2}`)
	f(NDJSON(), "{}\n\n{}\n", "{}|{}")
	f(CSV(), "a\n1\n1,2\n", `{"a":"1"}|!line 3: the record has 2 fields, the header 1 column`)
	many := strings.Repeat("x\n", 1000)
	f(Lines(), many, strings.TrimSuffix(strings.Repeat("x|", 1000), "|"))
}

func TestDecodeRefusesBadHeader(t *testing.T) {
	var b pipe.Batch
	b.Reset(nil, "src", 0)
	c := CSV()
	if err := c.Decode(&b, []byte("a,a\n1,2\n"), plenty); err == nil || err.Error() != `csv header: column "a" is there twice` {
		t.Errorf("got %v", err)
	}
}

func TestResume(t *testing.T) {
	f := func(c Codec, in string) {
		t.Helper()
		all := read(t, c, in, plenty)
		for i, from := range all {
			r := c.NewReader(strings.NewReader(in[from.pos:]), plenty)
			r.Partition = "f"
			if err := r.Resume(from.pos, strings.NewReader(in)); err != nil {
				t.Fatal(err)
			}
			rest, origins, err := collect(t, r)
			if err != nil || !slices.Equal(rest, all[i+1:]) {
				t.Errorf("%s %q after %d: got %v, %v, want %v", c.Type, in, from.pos, rest, err, all[i+1:])
			}
			for j, o := range origins {
				if want := fmt.Sprintf("f@%d", rest[j].pos); o != want {
					t.Errorf("%s after %d: got origin %s, want %s", c.Type, from.pos, o, want)
				}
			}
		}
	}
	f(Lines(), "a\n\nb\r\nc")
	f(NDJSON(), "{}\n\n{\"a\":1}\n{]\n{}")
	f(JSON(), "{}\n{\"a\":1}{}\n\n{\n}")
	f(JSON(), "[{},{\"a\":1} , {}]\n[{}]")
	f(CSV(), "a,b\n1,2\n\"x\n\",3\n4\n5,6\n")
}
