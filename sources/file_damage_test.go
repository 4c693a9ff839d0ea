package sources

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// savedCheckpoint returns a checkpoint of three files, and what it says.
func savedCheckpoint(t *testing.T) (text []byte, files []checkpointEntry) {
	t.Helper()
	f, dir := withCheckpoint(t, "*.log")
	for i := range 3 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.log", i)), numbered(0, 10+i))
	}
	readAll(t, f)
	text, err := os.ReadFile(f.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	return text, checkpointOf(t, f.Checkpoint).Files
}

// refusedOrSame parses a damaged checkpoint: it must be refused, with what is to
// be done, or say the same as before it was damaged.
func refusedOrSame(t *testing.T, text []byte, want []checkpointEntry) (refused bool) {
	t.Helper()
	b := newBook("state")
	if err := b.parse(text); err != nil {
		if msg := b.damaged(err).Error(); !strings.HasPrefix(msg, "checkpoint state is damaged: ") || !strings.Contains(msg, "delete it to read every file from its start") {
			t.Fatalf("%s: got %s", text, msg)
		}
		return true
	}
	var got []checkpointEntry
	for _, k := range b.all() {
		got = append(got, k.entry())
	}
	slices.SortFunc(got, func(a, b checkpointEntry) int { return strings.Compare(a.Partition, b.Partition) })
	if !slices.Equal(got, want) {
		t.Fatalf("read as %+v, want %+v, or a refusal:\n%s", got, want, text)
	}
	return false
}

func TestCheckpointCutOffAtEveryByte(t *testing.T) {
	whole, want := savedCheckpoint(t)
	refused := 0
	for n := range whole {
		if refusedOrSame(t, whole[:n], want) {
			refused++
		}
	}
	if refused != len(whole)-1 { // the line break at the end says nothing
		t.Errorf("%d of %d were refused", refused, len(whole))
	}
}

func TestCheckpointWithEveryBitFlipped(t *testing.T) {
	whole, want := savedCheckpoint(t)
	refused := 0
	for i := range len(whole) * 8 {
		text := slices.Clone(whole)
		text[i/8] ^= 1 << (i % 8)
		if refusedOrSame(t, text, want) {
			refused++
		}
	}
	if all := len(whole) * 8; refused < all*9/10 { // the others make spaces of spaces, or N of n in a name
		t.Errorf("%d of %d were refused", refused, all)
	}
}

// A block of a bad disk comes back as zeros, as other bytes, or as what was there
// before.
func TestCheckpointWithABadBlock(t *testing.T) {
	whole, want := savedCheckpoint(t)
	older := []byte(strings.ReplaceAll(string(whole), `"offset": `, `"offset": 1`))
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 3000 {
		at, size := rng.IntN(len(whole)), 1<<rng.IntN(9)
		end := min(at+size, len(whole))
		text := slices.Clone(whole)
		for i := at; i < end; i++ {
			switch n % 3 {
			case 0:
				text[i] = 0
			case 1:
				text[i] = byte(rng.Uint32())
			default:
				text[i] = older[i]
			}
		}
		refusedOrSame(t, text, want)
	}
}

func TestCheckpointDamageIsNamed(t *testing.T) {
	f, dir := withCheckpoint(t, "a")
	write(t, filepath.Join(dir, "a"), "1\n")
	entry := `{"partition":"a","path":"a","device":1,"inode":2,"fingerprint":"00000000000000000000000000000000","fingerprint_bytes":0,"offset":5}`
	check := func(content, want string) {
		t.Helper()
		write(t, f.Checkpoint, content)
		err := restarted(f).Open(t.Context(), pipetest.Env())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", content, err, want)
		}
		if now, _ := os.ReadFile(f.Checkpoint); string(now) != content {
			t.Errorf("%s: it was overwritten by %s", content, now)
		}
	}
	check("", "cut off after 0 bytes")
	check("null", "it has no version")
	check("{}", "it has no version")
	check(`{"version":2,"files":[]}`, "its version is 2, and this program knows 1")
	check(`{"version":1}`, "it has no list of files")
	check(`{"version":1,"files":[],"x":1}`, `unknown field "x"`)
	check(`{"version":1,"files":[]}{`, "something follows the end")
	check(`{"version":1,"files":[{}]}`, "entry 1 makes no sense")
	check(`{"version":1,"files":[`+strings.Replace(entry, ":5", ":-5", 1)+`]}`, "entry 1 makes no sense")
	check(`{"version":1,"files":[`+strings.Replace(entry, "00", "0", 1)+`]}`, "entry 1 makes no sense")
	check(`{"version":1,"files":[`+entry+","+entry+`]}`, `"a" is in it twice`)
	check("\x00\x00\x00\x00", "invalid character")
	check(`{"version":1,"checksum":"00","files":[`+entry+`]}`, "does not fit its checksum")
}

// One that is there but cannot be read is not as good as none.
func TestCheckpointThatCannotBeRead(t *testing.T) {
	f, dir := withCheckpoint(t, "a")
	write(t, filepath.Join(dir, "a"), "1\n")
	if err := os.Mkdir(f.Checkpoint, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Open(t.Context(), pipetest.Env()); err == nil || !strings.Contains(err.Error(), "checkpoint: read "+f.Checkpoint+": is a directory") {
		t.Errorf("got %v", err)
	}
	if exists, err := newBook(f.Checkpoint).load(); exists || err == nil {
		t.Errorf("got %v, %v, want an error", exists, err)
	}
}

// Positions only rise, in whatever order they are settled.
func TestCheckpointPositionsOnlyRise(t *testing.T) {
	b := newBook("")
	k := b.enter("a", fileID{}, fingerprint{}, 0)
	for _, at := range []int64{5, 10, 7} {
		b.settle([]pipe.Mark{{Partition: "a", Position: at}})
	}
	if k.offset != 10 {
		t.Errorf("got %d, want 10", k.offset)
	}
}

// Deleting a damaged checkpoint must not skip input by surprise.
func TestCheckpointDamageWithStartEnd(t *testing.T) {
	f, dir := withCheckpoint(t, "a")
	write(t, filepath.Join(dir, "a"), "1\n")
	write(t, f.Checkpoint, "{")
	f.Follow, f.Start = true, "end"
	err := f.Open(t.Context(), pipetest.Env())
	if err == nil || !strings.HasSuffix(err.Error(), "so set start: beginning for that run") {
		t.Errorf("got %v", err)
	}
}

// Who edits a checkpoint removes the checksum: then it is taken at its word.
func TestCheckpointWithoutChecksum(t *testing.T) {
	f, dir := withCheckpoint(t, "a")
	write(t, filepath.Join(dir, "a"), numbered(0, 10))
	readAll(t, f)
	edited := checkpointOf(t, f.Checkpoint)
	text := fmt.Sprintf(`{"version":1,"files":[{"partition":%q,"path":%[1]q,"device":%d,"inode":%d,"fingerprint":%q,"fingerprint_bytes":%d,"offset":%d}]}`,
		edited.Files[0].Path, edited.Files[0].Device, edited.Files[0].Inode, edited.Files[0].Fingerprint, edited.Files[0].FingerprintBytes, len(numbered(0, 7)))
	write(t, f.Checkpoint, text)
	if got, want := readAll(t, restarted(f)), strings.Split(strings.TrimSpace(numbered(7, 10)), "\n"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if c := checkpointOf(t, f.Checkpoint); c.Checksum == "" {
		t.Error("the next checkpoint has no checksum")
	}
}
