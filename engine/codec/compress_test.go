package codec

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

const decoderMemory = 8 << 20

func compress(t testing.TB, c Compression, parts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewCompressor(&out, c)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range parts {
		if i > 0 {
			w.Reset(&out)
		}
		if _, err := io.WriteString(w, p); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func decompress(r io.Reader, c Compression) (string, error) {
	d, err := Decompress(r, c, decoderMemory)
	if err != nil {
		return "", err
	}
	defer d.Close()
	out, err := io.ReadAll(d)
	return string(out), err
}

func TestCompressRoundTrip(t *testing.T) {
	defer goleak.VerifyNone(t)
	long := strings.Repeat("a line of a log\n", 20_000)
	for _, c := range []Compression{CompressNone, CompressGzip, CompressZstd} {
		for _, parts := range [][]string{{""}, {"x"}, {"one", "two", ""}, {long, long}} {
			packed := compress(t, c, parts...)
			want := strings.Join(parts, "")
			for _, as := range []Compression{c, CompressAuto} {
				got, err := decompress(iotest.OneByteReader(bytes.NewReader(packed)), as)
				if got != want || err != nil {
					t.Errorf("%s as %s: got %d bytes, %v, want %d", c, as, len(got), err, len(want))
				}
			}
			if len(packed) > 0 && len(want) > 0 && Sniff(packed) != c {
				t.Errorf("%s: sniffed %s", c, Sniff(packed))
			}
		}
	}
}

func TestGzipOfOthers(t *testing.T) {
	var out bytes.Buffer
	w := stdgzip.NewWriter(&out)
	io.WriteString(w, "hello")
	w.Close()
	if got, err := decompress(&out, CompressAuto); got != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	r, err := stdgzip.NewReader(bytes.NewReader(compress(t, CompressGzip, "a", "b")))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != "ab" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFlushMakesReadable(t *testing.T) {
	for _, c := range []Compression{CompressNone, CompressGzip, CompressZstd} {
		var out bytes.Buffer
		w, _ := NewCompressor(&out, c)
		io.WriteString(w, "first")
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		d, err := Decompress(bytes.NewReader(out.Bytes()), c, decoderMemory)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(d, got); err != nil || string(got) != "first" {
			t.Errorf("%s: got %q, %v", c, got, err)
		}
	}
}

func TestDamagedCompression(t *testing.T) {
	f := func(data []byte, as Compression, want string) {
		t.Helper()
		got, err := decompress(bytes.NewReader(data), as)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %.20q, %v, want error %q", as, got, err, want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	for _, c := range []Compression{CompressGzip, CompressZstd} {
		packed := compress(t, c, string(noise))
		f([]byte("plain text"), c, "the data is not "+string(c))
		f(packed[:len(packed)/2], c, "the "+string(c)+" data is cut off")
		bad := bytes.Clone(packed)
		bad[len(bad)-2] ^= 0xff
		f(bad, c, "the "+string(c)+" data is damaged: ")
	}
	f(append(compress(t, CompressGzip, "x"), "garbage, not a member"...), CompressGzip, "the gzip data is damaged")
	var big bytes.Buffer
	w, _ := zstd.NewWriter(&big, zstd.WithWindowSize(64<<20))
	w.Write(bytes.Repeat(noise, 400))
	w.Close()
	f(big.Bytes(), CompressZstd, "the zstd data needs more memory to decompress than is allowed")
}

func TestDecompressKeepsReadErrors(t *testing.T) {
	broken := errors.New("connection reset")
	for _, c := range []Compression{CompressGzip, CompressZstd} {
		packed := compress(t, c, strings.Repeat("x", 1000))
		_, err := decompress(io.MultiReader(bytes.NewReader(packed[:len(packed)-3]), errReader{broken}), c)
		if err != broken {
			t.Errorf("%s: got %v, want the reader's own error", c, err)
		}
	}
	if _, err := decompress(errReader{broken}, CompressAuto); err != broken {
		t.Errorf("got %v", err)
	}
}

func TestCompressionText(t *testing.T) {
	var c Compression
	if err := c.UnmarshalText([]byte("zstd")); err != nil || c != CompressZstd || c.Extension() != ".zst" {
		t.Errorf("got %q, %v", c, err)
	}
	if err := c.UnmarshalText([]byte("lz4")); err == nil || err.Error() != `unknown compression "lz4": it is one of none, gzip, zstd` {
		t.Errorf("got %v", err)
	}
	if _, err := NewCompressor(io.Discard, CompressAuto); err == nil {
		t.Error("wrote auto")
	}
}

// Damaged input gives an error or text, never a panic and never without end.
func FuzzDecompress(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add(compress(f, CompressGzip, "hello", "again"))
	f.Add(compress(f, CompressZstd, "hello", "again"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Decompress(bytes.NewReader(data), CompressAuto, 1<<20)
		if err != nil {
			return
		}
		defer d.Close()
		io.Copy(io.Discard, io.LimitReader(d, 1<<22))
	})
}
