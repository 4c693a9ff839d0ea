package dlq

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func where(t testing.TB, text string) *expr.Bool {
	t.Helper()
	var b expr.Bool
	if err := b.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return &b
}

func choose(t testing.TB, c Choice, paths ...string) *Selection {
	t.Helper()
	s, err := Select(paths, c, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// drain reads a source to its end and settles every letter as told.
func drain(t testing.TB, src *Source, outcome func(p pipetest.Pulled) pipe.Outcome) (got []pipetest.Pulled) {
	t.Helper()
	p := pipetest.Pull(t, src)
	defer p.Close()
	for {
		all, err := p.Read(t.Context())
		for _, e := range all {
			p.Settle([]pipetest.Pulled{e}, outcome(e))
		}
		got = append(got, all...)
		if err == io.EOF {
			return got
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func delivered(pipetest.Pulled) pipe.Outcome { return pipe.Delivered }

func texts(all []pipetest.Pulled) (list []string) {
	for _, e := range all {
		list = append(list, strings.TrimPrefix(e.Text, "line "))
	}
	return list
}

func TestSourceConforms(t *testing.T) {
	dir := t.TempDir()
	plain, zipped := filepath.Join(dir, "bad.ndjson"), filepath.Join(dir, "bad.gz")
	for path, text := range map[string]string{plain: lines(1, 700), zipped: packed(t, codec.CompressGzip, lines(701, 900), lines(901, 1000))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for n := range 1000 {
		want = append(want, fmt.Sprintf("line %d", n+1))
	}
	pipetest.Source(t, func() pipe.Source { return choose(t, Choice{}, plain, zipped).Source("", nil) }, pipetest.SourceOptions{Want: want, FromStart: true})
}

// TestSourceRestoresTheEvent: body, metadata and identity are those of before,
// the time is that of this run.
func TestSourceRestoresTheEvent(t *testing.T) {
	l := letter(5)
	l.FirstTime, l.Replays = time.Unix(99, 5).UTC(), 1
	r := l.Record()
	s := choose(t, Choice{}, write(t, "bad.ndjson", string(r.AppendJSON(nil))))
	src := s.Source("", nil)
	seen := 0
	drain(t, src, func(p pipetest.Pulled) pipe.Outcome {
		seen++
		e := p.Event
		meta, ok := e.Meta("n")
		if e.ID() != l.ID || e.Source() != "in" || e.Origin() != "in.log:5" || e.Position() != 5 || !e.Body.IsText() || meta != "5" || !ok {
			t.Errorf("id %s, source %s, origin %s, position %d, metadata %q", e.ID(), e.Source(), e.Origin(), e.Position(), meta)
		}
		if time.Since(e.Time()) > time.Minute {
			t.Errorf("time %v, want now", e.Time())
		}
		if again := Of(e); !again.FirstTime.Equal(l.FirstTime) || again.Replays != 2 || again.ID != l.ID {
			t.Errorf("as a letter again: %+v", again)
		}
		return pipe.Delivered
	})
	if done, total := src.Progress(); seen != 1 || done != 1 || total != 1 || src.Traits().Total != 1 {
		t.Errorf("%d events, progress %d of %d", seen, done, total)
	}
}

func TestSelect(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for path, text := range map[string]string{first: lines(1, 6) + "junk\n", second: lines(7, 10)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := func(c Choice, node string, want ...string) *Selection {
		t.Helper()
		s := choose(t, c, first, second)
		if got := texts(drain(t, s.Source(node, nil), func(pipetest.Pulled) pipe.Outcome { return pipe.Returned })); !slices.Equal(got, want) {
			t.Errorf("%+v, node %q: got %v, want %v", c, node, got, want)
		}
		return s
	}
	s := f(Choice{}, "", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
	if s.Chosen != 10 || s.Bad != 1 || len(s.BadLines) != 1 || !strings.Contains(s.BadLines[0], "1:7: not a dead letter") || !maps.Equal(s.Nodes, map[string]int64{"a": 5, "b": 5}) {
		t.Errorf("%+v", s)
	}
	f(Choice{}, "a", "2", "4", "6", "8", "10")
	s = f(Choice{Where: where(t, `node == "b" and error != "error 0"`)}, "", "1", "5", "7")
	if s.Unwanted != 7 || s.Chosen != 3 {
		t.Errorf("%+v", s)
	}
	f(Choice{Where: where(t, `metadata.n == "4"`)}, "", "4")
	f(Choice{Where: where(t, `event endsWith "8"`)}, "", "8")
	f(Choice{Limit: 7}, "", "1", "2", "3", "4", "5", "6", "7")
	f(Choice{Limit: 7}, "b", "1", "3", "5", "7")
	f(Choice{Limit: 3, Where: where(t, `node == "a"`)}, "", "2", "4", "6")
	if _, err := Select([]string{first}, Choice{Where: where(t, "error + 1 == 2")}, false); err == nil || !strings.Contains(err.Error(), "1:1: the condition does not fit") {
		t.Errorf("got %v", err)
	}
}

// TestWhatWasReplayedIsRemembered: letters that have ended well, and only those,
// are not replayed again, unless it is wanted.
func TestWhatWasReplayedIsRemembered(t *testing.T) {
	path := write(t, "bad.ndjson", lines(1, 9))
	outcomes := []pipe.Outcome{pipe.Delivered, pipe.Filtered, pipe.DeadLettered, pipe.Dropped, pipe.Discarded, pipe.Returned, pipe.Refused, pipe.Failed, pipe.Delivered}
	s := choose(t, Choice{}, path)
	i := 0
	drain(t, s.Source("", nil), func(pipetest.Pulled) pipe.Outcome { i++; return outcomes[i-1] })
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if s.Replayed() != 4 || s.Results()[pipe.Delivered] != 2 || s.Results()[pipe.Failed] != 1 {
		t.Errorf("replayed %d, results %v", s.Replayed(), s.Results())
	}
	s = choose(t, Choice{}, path)
	if got := texts(drain(t, s.Source("", nil), delivered)); !slices.Equal(got, []string{"4", "5", "6", "7", "8"}) || s.Done != 4 {
		t.Errorf("got %v, %d done before", got, s.Done)
	}
	if s = choose(t, Choice{}, path); s.Chosen != 5 { // not saved
		t.Errorf("%d chosen", s.Chosen)
	}
	if got := texts(drain(t, choose(t, Choice{Again: true}, path).Source("", nil), delivered)); len(got) != 9 {
		t.Errorf("got %v", got)
	}
}

// TestReplayWhileLettersCome: a letter that comes while others are replayed, such
// as one that has failed again, waits for the next replay.
func TestReplayWhileLettersCome(t *testing.T) {
	path := write(t, "bad.ndjson", lines(1, 3))
	s := choose(t, Choice{}, path)
	appendTo(t, path, lines(4, 4))
	got := texts(drain(t, s.Source("", nil), func(pipetest.Pulled) pipe.Outcome {
		appendTo(t, path, lines(5, 5))
		return pipe.DeadLettered
	}))
	if !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("got %v", got)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if got := texts(drain(t, choose(t, Choice{}, path).Source("", nil), delivered)); !slices.Equal(got, []string{"4", "5", "5", "5"}) {
		t.Errorf("then got %v", got)
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestFileThatIsReplaced: letters of another file under the same name are not
// taken for those that were chosen.
func TestFileThatIsReplaced(t *testing.T) {
	path := write(t, "bad.ndjson", lines(1, 3))
	src := choose(t, Choice{}, path).Source("", nil)
	if err := os.WriteFile(path, []byte(lines(7, 9)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := pipetest.Pull(t, src)
	defer p.Close()
	if all, err := p.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "replaced") || len(all) != 0 {
		t.Errorf("error %v, events %v", err, texts(all))
	}
}

// TestFileThatIsPutAside: a file that is renamed while it is replayed, as rotation
// does, is replayed to its end, and what was replayed is known under its new name.
func TestFileThatIsPutAside(t *testing.T) {
	path := write(t, "bad.ndjson", lines(1, 3))
	s := choose(t, Choice{}, path)
	aside := filepath.Join(filepath.Dir(path), "bad-2026.ndjson")
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(lines(7, 9)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := texts(drain(t, s.Source("", nil), delivered)); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("got %v", got)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	s = choose(t, Choice{}, aside, path)
	if got := texts(drain(t, s.Source("", nil), delivered)); !slices.Equal(got, []string{"7", "8", "9"}) || s.Done != 3 {
		t.Errorf("then got %v, %d done before", got, s.Done)
	}
}

// TestCutOffFile: what comes before the damage is replayed.
func TestCutOffFile(t *testing.T) {
	whole := packed(t, codec.CompressGzip, lines(1, 300), lines(301, 302))
	path := write(t, "bad.gz", whole[:len(whole)-5])
	s := choose(t, Choice{}, path)
	if got := drain(t, s.Source("", nil), delivered); len(s.Truncated) != 1 || len(got) < 300 || int64(len(got)) != s.Chosen {
		t.Errorf("%d letters of %d, errors %v", len(got), s.Chosen, s.Truncated)
	}
}

func TestOneReplayAtATime(t *testing.T) {
	path := write(t, "bad.ndjson", lines(1, 3))
	s, err := Select([]string{path}, Choice{}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Select([]string{path}, Choice{}, true); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	s.Close()
	s, err = Select([]string{path}, Choice{}, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestPace: letters come at the rate, in small bursts, over all sources together.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, "bad.ndjson", lines(1, 1000))
		s := choose(t, Choice{}, path)
		pace := rate.NewLimiter(100, 5)
		start := time.Now()
		for _, node := range []string{"a", "b"} {
			if n := len(drain(t, s.Source(node, pace), delivered)); n != 500 {
				t.Errorf("%d letters", n)
			}
		}
		if took := time.Since(start); took < 9900*time.Millisecond || took > 10100*time.Millisecond {
			t.Errorf("1000 letters at 100/s took %v", took)
		}
	})
}

// TestPaceEnds: a wait for the next letter ends with the context, and the letter
// is not lost.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, "bad.ndjson", lines(1, 3))
		src := choose(t, Choice{}, path).Source("", rate.NewLimiter(0.001, 1))
		p := pipetest.Pull(t, src)
		defer p.Close()
		if all, err := p.Read(t.Context()); err != nil || !slices.Equal(texts(all), []string{"1"}) {
			t.Errorf("error %v, events %v", err, texts(all))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if all, err := p.Read(ctx); err == nil || len(all) != 0 {
			t.Errorf("error %v, events %v", err, texts(all))
		}
	})
}
