package dlq

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoneModel: whatever is added in whatever order is there, after being saved
// and loaded too, and nothing else.
func TestDoneModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "bad.ndjson")
		d, err := LoadDone(path, "print")
		if err != nil {
			t.Fatal(err)
		}
		ends := []int64{0}
		for range 1 + r.IntN(40) {
			ends = append(ends, ends[len(ends)-1]+1+r.Int64N(5))
		}
		want := map[int64]bool{}
		for range r.IntN(80) {
			i := r.IntN(len(ends) - 1)
			d.Add(ends[i], ends[i+1])
			want[ends[i]] = true
			if r.IntN(10) == 0 {
				if err := d.Save(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := d.Save(); err != nil {
			t.Fatal(err)
		}
		again, err := LoadDone(path, "print")
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range ends[:len(ends)-1] {
			if d.Has(from) != want[from] || again.Has(from) != want[from] {
				t.Fatalf("seed %d: letter at %d: has %v, loaded %v, want %v; spans %v", seed, from, d.Has(from), again.Has(from), want[from], d.spans)
			}
		}
		for i := 1; i < len(d.spans); i++ {
			if d.spans[i][0] <= d.spans[i-1][1] {
				t.Fatalf("seed %d: spans %v are not joined", seed, d.spans)
			}
		}
	}
}

func saved(t *testing.T, path, print string, spans ...span) {
	t.Helper()
	d, err := LoadDone(path, print)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range spans {
		d.Add(s[0], s[1])
	}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, path, print string, from int64, want bool) {
	t.Helper()
	d, err := LoadDone(path, print)
	if err != nil {
		t.Fatal(err)
	}
	if d.Has(from) != want {
		t.Errorf("%s, %s: letter at %d: has %v, want %v", filepath.Base(path), print, from, !want, want)
	}
}

// TestDoneFollowsTheFile: what was replayed belongs to a file by its content. A
// file that was begun anew begins with nothing, and one that was put aside keeps
// what it had, also when its name is taken and used again.
func TestDoneFollowsTheFile(t *testing.T) {
	dir := t.TempDir()
	now, aside := filepath.Join(dir, "bad.ndjson"), filepath.Join(dir, "bad-1.ndjson")
	saved(t, now, "first", span{0, 10})
	has(t, now, "first", 0, true)
	has(t, now, "second", 0, false) // emptied, or another one
	has(t, aside, "first", 0, true) // put aside
	saved(t, now, "second", span{20, 30})
	has(t, now, "second", 20, true)
	has(t, aside, "first", 0, true)
	has(t, aside, "second", 0, false)
	saved(t, aside, "first", span{10, 20})
	has(t, aside, "first", 0, true)
	has(t, aside, "first", 10, true)
	for i := range 2 * mostPrints {
		saved(t, now, fmt.Sprint(i), span{0, 1})
	}
	if entries, err := readDone(now + DoneSuffix); err != nil || len(entries) != mostPrints || entries[0].First != fmt.Sprint(2*mostPrints-1) {
		t.Errorf("error %v, %d entries, first %v; want the latest %d", err, len(entries), entries[0], mostPrints)
	}
}

func TestDoneIsPrivateAndWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.ndjson")
	saved(t, path, "print", span{0, 10}, span{20, 30})
	info, err := os.Stat(path + DoneSuffix)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("error %v, mode %v, want 0600", err, info.Mode())
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("error %v, left behind: %v", err, names)
	}
	whole, err := os.ReadFile(path + DoneSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole[:len(whole)-1] { // the line break at the end is no loss
		if _, err := parseDone(whole[:n]); err == nil {
			t.Fatalf("cut off after %d of %d bytes it is taken for whole", n, len(whole))
		}
	}
	for _, bad := range []string{`{"version":2,"files":[]}`, `{"files":[]}`, `{"version":1,"files":[{"first_line":"x","done":[[5,3]]}]}`,
		`{"version":1,"files":[{"first_line":"x","done":[[5,9],[7,11]]}]}`, string(whole) + "x", `{"version":1,"file":[]}`} {
		if err := os.WriteFile(path+DoneSuffix, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadDone(path, "print"); err == nil || !strings.Contains(err.Error(), "is damaged") || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

// TestDoneThatCannotBeSaved is tried again.
func TestDoneThatCannotBeSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.ndjson")
	d, err := LoadDone(path, "print")
	if err != nil {
		t.Fatal(err)
	}
	d.Add(0, 1)
	if err := os.Mkdir(path+DoneSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); err == nil || !strings.Contains(err.Error(), "bad.ndjson.done") {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(path + DoneSuffix); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	has(t, path, "print", 0, true)
}
