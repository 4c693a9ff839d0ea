package stages

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// logLines runs l over samples with a second between them and returns the lines.
func logLines(t *testing.T, l *Log, pause time.Duration, samples ...string) []string {
	t.Helper()
	var lines []string
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		withoutTime := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := l.Open(t.Context(), pipe.Env{Log: log}); err != nil {
			t.Fatal(err)
		}
		feed, err := pipetest.NewFeed(samples...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range feed.Events {
			if i > 0 {
				time.Sleep(pause)
			}
			process(t, l, feed.Events[i:i+1], 1)
		}
		lines = strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	})
	return lines
}

func TestLog(t *testing.T) {
	fresh := func() *Log { return &Log{Level: "info", Rate: 1, MaxBytes: 1 << 10} }
	f := func(name string, change func(l *Log), pause time.Duration, samples []string, want ...string) {
		t.Helper()
		l := fresh()
		change(l)
		same(t, name, logLines(t, l, pause, samples...), want)
	}
	two := []string{`{"a":1,"s":"x y"}`, `{"a":2}`}
	f("all of it", func(*Log) {}, time.Second, two,
		`level=INFO msg=passing event="{\"a\":1,\"s\":\"x y\"}"`, `level=INFO msg=passing event="{\"a\":2}"`)
	f("a message", func(l *Log) { l.Message, l.Level = value(t, "s"), "warn" }, time.Second, two[:1], `level=WARN msg=passing event="x y"`)
	f("a condition", func(l *Log) { l.Where = condition(t, "a > 1") }, time.Second, two, `level=INFO msg=passing event="{\"a\":2}"`)
	f("below the level", func(l *Log) { l.Level = "debug" }, time.Second, two, "")
	f("the rate", func(*Log) {}, 400*time.Millisecond, []string{"a", "b", "c", "d"},
		"level=INFO msg=passing event=a", "level=INFO msg=passing event=d skipped=2")
	f("the length", func(l *Log) { l.MaxBytes = 16 }, time.Second, []string{strings.Repeat("ä", 20)},
		`level=INFO msg=passing event="ääääääää… (24 bytes more)"`)
	broken := fresh()
	broken.Message = value(t, "a * 2")
	if line := logLines(t, broken, 0, `{"a":"x"}`)[0]; !strings.Contains(line, `error="message: `) {
		t.Errorf("an expression that does not fit: %s", line)
	}
}

func TestLogValidate(t *testing.T) {
	refuses(t, &Log{Level: "info", MaxBytes: 1024}, "rate", "above 0")
	refuses(t, &Log{Level: "info", Rate: 1, MaxBytes: 1}, "max_bytes", "at least 16")
	refuses(t, &Log{Level: "loud", Rate: 1, MaxBytes: 16}, "level", "unknown level")
}

func TestLogConforms(t *testing.T) {
	pipetest.Stage(t, func() pipe.Stage {
		return &Log{Level: "info", Rate: 1, MaxBytes: 1 << 10}
	}, `{"n":1}`, "a line")
}
