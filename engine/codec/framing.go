package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Framing is how messages are told apart on a stream: the `framing` field of
// components that write to connections or read from them.
type Framing string

// The framings.
const (
	// FramingLines ends a message with a line break; one of "\r\n" is taken for it too.
	FramingLines Framing = "lines"
	// FramingOctetCounted writes the length in decimal and a space before a
	// message, as RFC 6587 has it: "5 hello".
	FramingOctetCounted Framing = "octet_counted"
	// FramingU32 writes the length as 32 bits, big endian, before a message.
	FramingU32 Framing = "length_u32"
	// FramingU16 writes the length as 16 bits, big endian, before a message.
	FramingU16 Framing = "length_u16"
	// FramingSyslog can only be read: each message is counted when it begins with
	// a length, a space and "<", and else ends with a line break or a zero byte.
	FramingSyslog Framing = "auto"
)

// maxDigits is how many digits an octet count may have: enough for any length
// that is not lost framing.
const maxDigits = 10

// absurd is the length from which a count is taken for other bytes than a count.
const absurd = 256 << 20

// Append appends payload to dst as one message. An error, which is poison, says
// that the framing cannot carry payload; dst is then returned as it was. dst may
// end with payload itself, see AppendEvent.
func (f Framing) Append(dst, payload []byte) ([]byte, error) {
	switch f {
	case FramingOctetCounted:
		dst = append(strconv.AppendInt(dst, int64(len(payload)), 10), ' ')
	case FramingU32:
		if uint64(len(payload)) > math.MaxUint32 {
			return dst, f.tooLong(payload)
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	case FramingU16:
		if len(payload) > math.MaxUint16 {
			return dst, f.tooLong(payload)
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	default:
		if i := bytes.IndexByte(payload, '\n'); i >= 0 {
			return dst, pipe.Classed(pipe.Poison, fmt.Errorf("the message has a line break at byte %d, and framing lines would make two of it: use another framing", i))
		}
		return append(append(dst, payload...), '\n'), nil
	}
	return append(dst, payload...), nil
}

func (f Framing) tooLong(payload []byte) error {
	return pipe.Classed(pipe.Poison, fmt.Errorf("the message has %d bytes, more than framing %s can count", len(payload), f))
}

// AppendMessage appends ev as the codec writes it, without the line break that
// ends it: the content of a message whose end is told in another way.
func (e *Encoder) AppendMessage(dst []byte, ev *pipe.Event) ([]byte, error) {
	start := len(dst)
	dst, err := e.Append(dst, ev)
	if err != nil || e.codec.Type == TypeRaw || len(dst) == start {
		return dst, err
	}
	return dst[:len(dst)-1], nil
}

// state is what is known about the beginning of a message.
type state uint8

const (
	needsMore state = iota // its header is not here yet
	counted                // it has a length
	lined                  // it ends with a line break
	lost                   // it is no header
)

// header reads what stands before a message: size bytes, which say that n follow.
func (f Framing) header(data []byte) (size int, n int64, s state) {
	switch f {
	case FramingU32:
		if len(data) < 4 {
			return 0, 0, needsMore
		}
		return 4, int64(binary.BigEndian.Uint32(data)), counted
	case FramingU16:
		if len(data) < 2 {
			return 0, 0, needsMore
		}
		return 2, int64(binary.BigEndian.Uint16(data)), counted
	case FramingOctetCounted:
		return octets(data)
	case FramingSyslog:
		return syslogHeader(data)
	}
	return 0, 0, lined
}

// octets reads an octet count and its space. RFC 6587 has no empty messages, and so
// no 0; but events can be empty.
func octets(data []byte) (size int, n int64, s state) {
	for i, c := range data {
		switch {
		case c >= '0' && c <= '9' && i < maxDigits && (i == 0 || n > 0): // 05 is none, 0 is
			n = 10*n + int64(c-'0')
		case c == ' ' && i > 0:
			return i + 1, n, counted
		default:
			return 0, 0, lost
		}
	}
	return 0, 0, needsMore
}

// syslogHeader reads an octet count that a priority follows, or finds that there
// is none.
func syslogHeader(data []byte) (size int, n int64, s state) {
	size, n, s = octets(data)
	switch {
	case s == lost:
		return 0, 0, lined
	case s == needsMore || size == len(data):
		return 0, 0, needsMore
	case data[size] != '<' || n == 0:
		return 0, 0, lined
	}
	return size, n, counted
}

// end finds what ends a message of lines: data[:at] is the message, and next is
// where the one after it begins. It looks from byte from on; at is -1 when the end
// is not here.
func (f Framing) end(data []byte, from int) (at, next int) {
	i := bytes.IndexByte(data[from:], '\n')
	if f == FramingSyslog {
		tail := data[from:]
		if i >= 0 {
			tail = tail[:i]
		}
		if z := bytes.IndexByte(tail, 0); z >= 0 {
			i = z
		}
	}
	if i < 0 {
		return -1, 0
	}
	at = from + i
	next = at + 1
	if data[at] == '\n' && at > 0 && data[at-1] == '\r' {
		at--
	}
	return at, next
}
