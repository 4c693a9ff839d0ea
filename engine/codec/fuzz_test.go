package codec

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// However the input arrives, in whole or in shreds, the events are the same.
func FuzzChunks(f *testing.F) {
	f.Add("a\nb\r\n\r\nlonger than the limit of this\nc", uint64(1))
	f.Add("{}\n{\"a\":\"}\"}[{},{}]\n {\n}\n{]\n", uint64(2))
	f.Add("a,b\n1,2\n\"x\n\"\"\",3\n\n4\n\"", uint64(3))
	f.Add("\xef\xbb\xbf{\"a\":1}\r\n", uint64(4))
	f.Add("[1,{},[2],,{}]]x\n{\"a\\\n", uint64(5))
	f.Add("{\"a\":\"123456789012345678901234567890\"}\n\n{}{}", uint64(6))
	f.Fuzz(func(t *testing.T, in string, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		for _, n := range names {
			c := newCodec(n)
			limit := []int{1, 7, 25, plenty}[rng.IntN(4)]
			want, _, wantErr := collect(t, c.NewReader(strings.NewReader(in), limit))
			r := c.NewReader(&torn{in, rng, 1 + rng.IntN(20)}, limit)
			r.chunk = 16 + rng.IntN(100)
			got, _, err := collect(t, r)
			if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
				t.Fatalf("%s: %q, limit %d, seed %d:\ngot  %v, %v\nwant %v, %v", n, in, limit, seed, got, err, want, wantErr)
			}
			checkPositions(t, in, got)
		}
	})
}

func checkPositions(t *testing.T, in string, items []item) {
	t.Helper()
	last := int64(-1)
	for _, i := range items {
		if i.pos < last || i.pos > int64(len(in)) {
			t.Fatalf("%q: position %d after %d", in, i.pos, last)
		}
		last = i.pos
	}
}

// The same, over random mixes of what is difficult; runs with every test.
func TestChunks(t *testing.T) {
	parts := []string{"a", "\n", "\r\n", "\r", `"`, `""`, `{"a":1}`, "{", "}", "[", "]", ",", ", ", `\`, `{"b":"x`, "\xef\xbb\xbf", "\xff",
		"1", "a,b\n", strings.Repeat("long ", 9), `{"k":"` + strings.Repeat("v", 50) + `"}`}
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var in strings.Builder
		for range rng.IntN(40) {
			in.WriteString(parts[rng.IntN(len(parts))])
		}
		for _, n := range names {
			c := newCodec(n)
			limit := []int{1, 8, 25, 60, plenty}[rng.IntN(5)]
			want, _, wantErr := collect(t, c.NewReader(strings.NewReader(in.String()), limit))
			r := c.NewReader(&torn{in.String(), rng, 1 + rng.IntN(20)}, limit)
			r.chunk = 16 + rng.IntN(100)
			got, _, err := collect(t, r)
			if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
				t.Fatalf("%s: %q, limit %d, seed %d:\ngot  %v, %v\nwant %v, %v", n, in.String(), limit, seed, got, err, want, wantErr)
			}
			checkPositions(t, in.String(), got)
		}
	}
}

// Nothing of the input is lost without a failure: for lines and raw the events
// put together are the input.
func FuzzNothingIsLost(f *testing.F) {
	f.Add("a\nb\n\nc")
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Contains(in, "\r") || strings.HasPrefix(in, string(bom)) {
			return
		}
		var lines, raw bytes.Buffer
		for _, i := range read(t, Lines(), in, plenty) {
			lines.WriteString(i.text + "\n")
		}
		for _, i := range read(t, Raw(), in, plenty) {
			raw.WriteString(i.text)
		}
		want := in
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		if lines.String() != want || raw.String() != in {
			t.Errorf("%q: got %q and %q", in, lines.String(), raw.String())
		}
	})
}
