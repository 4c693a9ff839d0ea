package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

var framings = []Framing{FramingLines, FramingOctetCounted, FramingU32, FramingU16, FramingSyslog}

// framesOf cuts a stream into messages, an error in brackets behind what was seen,
// and the end of the stream last, unless it is io.EOF.
func framesOf(f Framing, src io.Reader, max int) (all []string) {
	r := f.NewReader(src, max, "max_frame")
	defer r.Release()
	var frames []Frame
	for {
		var err error
		frames, err = r.Read(frames[:0])
		for _, fr := range frames {
			text := string(fr.Data)
			if fr.Err != nil {
				text += "[" + fr.Err.Error() + "]"
			}
			all = append(all, text)
		}
		if err == io.EOF {
			return all
		}
		if err != nil {
			return append(all, err.Error())
		}
	}
}

func TestFraming(t *testing.T) {
	f := func(framing Framing, in string, want ...string) {
		t.Helper()
		for name, src := range map[string]io.Reader{
			"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in)), "data with error": iotest.DataErrReader(strings.NewReader(in)),
		} {
			got, want := framesOf(framing, src, 10), slices.Clone(want)
			if name == "bytes" { // less of what is too large is seen, and less of what is lost
				for i := range min(len(got), len(want)) {
					if strings.Contains(want[i], "larger") || strings.Contains(want[i], "begin") {
						got[i], want[i] = "", ""
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s of %q, %s:\ngot  %q\nwant %q", framing, in, name, got, want)
			}
		}
	}
	large := func(n int) string { return fmt.Sprintf("[message is larger than max_frame (10B): %d bytes]", n) }
	f(FramingLines, "a\r\n\nbc\nd", "a", "", "bc", "d")
	f(FramingLines, "")
	f(FramingLines, "0123456789\n0123456789\r\n01234567890\nx", "0123456789", "0123456789", "0123456789"+large(11), "x")
	f(FramingLines, "01234567890123456789", "0123456789"+large(20))
	f(FramingOctetCounted, "1 a2 \nb0 05 cde", "a", "\nb", "", "05 cde[this does not begin as framing octet_counted does (\"05 cde\"): the sender uses another one, or lost count]", "framing lost")
	f(FramingOctetCounted, "11 0123456789x1 a", "0123456789x"[:11]+large(11), "a")
	f(FramingOctetCounted, "5 abc", "abc"[:0]+"5 abc[the stream ended in the middle of a message: 3 of 5 bytes]")
	f(FramingOctetCounted, "5", "5[the stream ended in the middle of a message, after 1 bytes]")
	f(FramingOctetCounted, "99999999999 x", "99999999999 x[this does not begin as framing octet_counted does (\"99999999999 x\"): the sender uses another one, or lost count]", "framing lost")
	f(FramingU32, "\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x02bc", "a", "", "bc")
	f(FramingU32, "GET / HTTP", "GET / HTTP[this does not begin as framing length_u32 does (\"GET / HTTP\"): the sender uses another one, or lost count]", "framing lost")
	f(FramingU32, "\x00\x00\x00\x0b0123456789x\x00\x00\x00\x01a", "0123456789x"+large(11), "a")
	f(FramingU16, "\x00\x01a\x00\x03bc", "a", "\x00\x03bc[the stream ended in the middle of a message: 2 of 3 bytes]")
	f(FramingSyslog, "4 <13>4 <1\n<13>a\n<14>b\x00\x0012 monkeys\n1\n2", "<13>", "<1\n<", "13>a", "<14>b", "12 monkeys", "1", "2")
	f(FramingSyslog, "<13>a\r\n\n\n5 <13>b\n<13>c", "<13>a", "<13>b", "<13>c")
	f(FramingSyslog, "12", "12")
	f(FramingSyslog, "9 <", "9 <[the stream ended in the middle of a message: 1 of 9 bytes]")
}

// A stream that breaks is not the end of a message of lines.
func TestFramingBroken(t *testing.T) {
	broken := errors.New("reset")
	got := framesOf(FramingLines, io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), 10)
	if want := []string{"a", "b[the stream ended in the middle of a message, after 1 bytes]", "reset"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A length that a peer announces takes no memory until the bytes are here.
func TestFramingHoldsLittle(t *testing.T) {
	const max = 1 << 20
	endless := io.MultiReader(strings.NewReader("200000000 "), &zeros{n: 50 << 20})
	r := FramingOctetCounted.NewReader(endless, max, "max_frame")
	for {
		if _, err := r.Read(nil); err != nil {
			break
		}
		if cap(r.buf) > max+2*chunkSize {
			t.Fatalf("holds %d bytes", cap(r.buf))
		}
	}
	r = FramingLines.NewReader(&zeros{n: 50 << 20}, max, "max_frame")
	frames, err := r.Read(nil)
	if cap(r.buf) > max+2*chunkSize || len(frames) != 1 || frames[0].Err == nil || err != nil {
		t.Fatalf("holds %d bytes, %d frames, %v", cap(r.buf), len(frames), err)
	}
	announced := FramingU32.NewReader(io.MultiReader(strings.NewReader("\x00\x0f\xff\xff"), iotest.ErrReader(io.EOF)), max, "max_frame")
	announced.Read(nil)
	if cap(announced.buf) > chunkSize {
		t.Errorf("an announcement alone takes %d bytes", cap(announced.buf))
	}
}

type zeros struct{ n int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.n)
	clear(p[:n])
	z.n -= n
	return n, nil
}

func TestFramingAppend(t *testing.T) {
	f := func(framing Framing, payload, want string) {
		t.Helper()
		got, err := framing.Append([]byte("+"), []byte(payload))
		if err != nil {
			if pipe.ClassOf(err, "") != pipe.Poison || string(got) != "+" {
				t.Errorf("%s: %v, and %q was left", framing, err, got)
			}
			got = []byte("+" + err.Error())
		}
		if string(got) != "+"+want {
			t.Errorf("%s of %.20q: got %.200q, want %q", framing, payload, got[1:], want)
		}
	}
	f(FramingLines, "a", "a\n")
	f(FramingLines, "", "\n")
	f(FramingLines, "a\nb", "the message has a line break at byte 1, and framing lines would make two of it: use another framing")
	f(FramingOctetCounted, "a\nb", "3 a\nb")
	f(FramingU32, "ab", "\x00\x00\x00\x02ab")
	f(FramingU16, "ab", "\x00\x02ab")
	f(FramingU16, strings.Repeat("x", 1<<16), "the message has 65536 bytes, more than framing length_u16 can count")
}

func TestAppendMessage(t *testing.T) {
	f := func(c Codec, in, want string) {
		t.Helper()
		e := &pipe.Event{Body: record.FromText([]byte(in))}
		got, err := c.NewEncoder().AppendMessage(nil, e)
		if err != nil || string(got) != want {
			t.Errorf("%s of %q: got %q, %v, want %q", c.Type, in, got, err, want)
		}
	}
	f(Lines(), "a", "a")
	f(Lines(), "a\n", "a\n")
	f(Raw(), "a\n", "a\n")
	f(Raw(), "", "")
	f(NDJSON(), "a", `{"message":"a"}`)
}

func TestOne(t *testing.T) {
	f := func(c Codec, in, want string) {
		t.Helper()
		body, err := c.One([]byte(in), new(record.Arena), 20)
		got := "not one"
		if err == nil {
			got = string(body.AppendText(nil))
		}
		if got != want {
			t.Errorf("%s of %q: got %q, want %q", c.Type, in, got, want)
		}
	}
	f(Lines(), "a\r\n", "a")
	f(Lines(), "", "")
	f(Lines(), "a\nb", "not one")
	f(Lines(), strings.Repeat("x", 21), "not one")
	f(Raw(), "a\nb\n", "a\nb\n")
	f(Raw(), "", "not one")
	f(JSON(), ` {"a":1} `, `{"a":1}`)
	f(NDJSON(), `{"a":1}{"a":1}`, "not one")
	f(NDJSON(), `{`, "not one")
	f(CSV(), `a,b`, "not one")
}

// FuzzFraming reads what was written, in pieces, and any bytes without harm.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("a\r\n\nbc\nd"), byte(3), byte(0))
	f.Add([]byte("5 <13>a3 <1>\n<13>b\x00"), byte(1), byte(4))
	f.Add([]byte("\x00\x00\x00\x02ab"), byte(7), byte(2))
	f.Fuzz(func(t *testing.T, data []byte, piece, which byte) {
		framing := framings[int(which)%len(framings)]
		const max = 64
		whole := framesOf(framing, bytes.NewReader(data), max)
		pieces := framesOf(framing, &pieceReader{data, int(piece%9) + 1}, max)
		if len(whole) != len(pieces) {
			t.Fatalf("%s of %q: %q in one piece, %q in several", framing, data, whole, pieces)
		}
		for i := range whole {
			if whole[i] != pieces[i] && !strings.HasSuffix(whole[i], "]") {
				t.Fatalf("%s of %q: %q in one piece, %q in several", framing, data, whole, pieces)
			}
		}
		if framing == FramingSyslog {
			return // cannot be written
		}
		var stream []byte
		var want []string
		for line := range bytes.SplitSeq(data, []byte("x")) {
			line = line[:min(len(line), max)]
			out, err := framing.Append(stream, line)
			if err != nil || framing == FramingLines && bytes.HasSuffix(line, []byte("\r")) {
				continue
			}
			stream, want = out, append(want, string(line))
		}
		if got := framesOf(framing, &pieceReader{stream, int(piece%9) + 1}, max); !slices.Equal(got, want) {
			t.Fatalf("%s: got %q, want %q", framing, got, want)
		}
	})
}

// pieceReader reads at most size bytes at a time.
type pieceReader struct {
	data []byte
	size int
}

func (r *pieceReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.size)], r.data)
	r.data = r.data[n:]
	return n, nil
}
