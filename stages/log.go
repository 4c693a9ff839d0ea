package stages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"golang.org/x/time/rate"
)

func init() {
	pipe.RegisterStage("log", func() pipe.Stage { return &Log{Level: "info", Rate: pipe.Rate(10), MaxBytes: 1 << 10} })
}

// Log writes a line about each event into pipectl's own log and hands all events
// on unchanged, to see what passes at a place. It never holds events up and never
// floods: above rate the lines are left out, and the next one says how many.
//
// Example:
//
//	type: log
//	where: status >= 500
//	message: path
//	rate: 1/s
type Log struct {
	// Where says which events are logged. By default all are. An event that the
	// condition does not fit is logged with the reason instead.
	Where expr.Bool `yaml:"where"`

	// Message is what is logged: the result of an expression. By default it is
	// the event as it would be written to a file.
	Message expr.Value `yaml:"message"`

	// Level is the level of the lines, info by default.
	Level string `yaml:"level" enum:"debug,info,warn,error"`

	// Rate is how many lines there may be, 10/s by default. Up to what comes in a
	// second may be written at once, at least one.
	Rate pipe.Rate `yaml:"rate" above:"0/s"`

	// MaxBytes is where a message is cut off, 1KiB by default, at least 16 bytes.
	MaxBytes pipe.Size `yaml:"max_bytes" min:"16"`

	log     *slog.Logger
	level   slog.Level
	limiter *rate.Limiter
	skipped atomic.Int64
}

// Validate checks the rate, the level and the limit.
func (l *Log) Validate() error {
	var errs []error
	if l.Rate <= 0 {
		errs = append(errs, fieldError("rate", "such as 10/s", "must be above 0"))
	}
	if l.MaxBytes < 16 {
		errs = append(errs, fieldError("max_bytes", "such as 1KiB", "must be at least 16, got %d", int64(l.MaxBytes)))
	}
	if err := l.level.UnmarshalText([]byte(l.Level)); err != nil {
		errs = append(errs, fieldError("level", "debug, info, warn or error", "unknown level %q", l.Level))
	}
	return errors.Join(errs...)
}

// Open takes pipectl's log.
func (l *Log) Open(_ context.Context, env pipe.Env) error {
	l.log = env.Log
	l.limiter = rate.NewLimiter(rate.Limit(l.Rate), max(1, int(min(float64(l.Rate), 1e6))))
	return l.level.UnmarshalText([]byte(l.Level))
}

// Process logs what it may and hands on everything.
func (l *Log) Process(ctx context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		if l.log.Enabled(ctx, l.level) {
			l.about(ctx, e)
		}
		out.Emit(e)
	}
	return nil
}

// about logs e, unless the condition or the rate is against it.
func (l *Log) about(ctx context.Context, e *pipe.Event) {
	if !l.Where.IsZero() {
		if ok, err := l.Where.Eval(e); err != nil {
			l.write(ctx, e, fmt.Errorf("where: %w", err))
			return
		} else if !ok {
			return
		}
	}
	l.write(ctx, e, nil)
}

func (l *Log) write(ctx context.Context, e *pipe.Event, err error) {
	if !l.limiter.AllowN(time.Now(), 1) {
		l.skipped.Add(1)
		return
	}
	text := "event"
	if err == nil {
		text, err = l.text(e)
	}
	attrs := []slog.Attr{slog.String("event", l.cut(text))}
	if err != nil {
		attrs = []slog.Attr{slog.String("error", err.Error()), slog.String("event", l.cut(string(e.Body.AppendText(nil))))}
	}
	if n := l.skipped.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("skipped", n))
	}
	l.log.LogAttrs(ctx, l.level, "passing", attrs...)
}

// text is the message about e.
func (l *Log) text(e *pipe.Event) (string, error) {
	if l.Message.IsZero() {
		return string(e.Body.AppendText(nil)), nil
	}
	var a record.Arena
	v, err := l.Message.Eval(e, &a)
	if err != nil {
		return "", fmt.Errorf("message: %w", err)
	}
	return v.String(), nil
}

// cut shortens a text to max_bytes, between two characters.
func (l *Log) cut(text string) string {
	if len(text) <= int(l.MaxBytes) {
		return text
	}
	n := int(l.MaxBytes)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes more)", text[:n], len(text)-n)
}
