package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSource("http_client", func() pipe.Source {
		return &HTTPClient{
			Method: "GET", Codec: codec.JSON(), Interval: pipe.Duration(time.Minute), MaxPages: 100, MaxBody: 8 << 20,
			BackoffMin: pipe.Duration(time.Second), BackoffMax: pipe.Duration(5 * time.Minute), Client: web.Defaults(),
		}
	})
}

// HTTPClient asks a URL for events, again and again.
//
// It can repeat events, and with a cursor it loses none: the cursor moves on in the
// checkpoint only when the events before it are settled, so that after a restart the
// server is asked for the rest again. A page that then is the same goes on behind
// what was settled of it; one that has changed is read as a whole. Without a cursor
// each poll takes what the server says at that moment: what it no longer says after
// a crash is lost, and what it still says is there again.
//
// While the pipeline is full no further page is asked for. When the server does not
// answer, or not with 200, the same page is asked for again: after a wait that
// doubles each time, or after a 429 or 503 not before its Retry-After. An answer that
// has an ETag or a Last-Modified is asked for with that the next time, so that one
// that has not changed (304) is not read again; except with next_url, where the first
// page says nothing about the others.
//
// Example:
//
//	type: http_client
//	url: https://api.example.com/v1/orders?after={cursor}&limit=500
//	bearer_token: ${TOKEN:-}
//	interval: 30s
//	items: body.orders
//	cursor: body.last_id
//	checkpoint: orders.checkpoint
type HTTPClient struct {
	// URL is what to ask. {cursor} in its path or its query is replaced by the
	// cursor.
	URL string `yaml:"url" required:"true"`

	// Method is GET (the default) or POST.
	Method string `yaml:"method" enum:"GET,POST"`

	// Body is sent with POST. {cursor} in it is replaced by the cursor, as it stands
	// inside a JSON string.
	Body string `yaml:"body"`

	// Interval is the time from the beginning of one poll to the next, 1m by default.
	// The first one is made at once.
	Interval pipe.Duration `yaml:"interval" above:"0s"`

	// Codec is the format of what is read, json by default: objects, or an array of
	// them.
	Codec codec.Codec `yaml:"codec"`

	// Items is where the events are in an answer, when they are not all of it: an
	// expression that gives an array or an object, such as body.items. It needs codec
	// json. Expressions see the answer as body (JSON, or a text), status, headers (with
	// names in lower case: headers["x-next-page"]) and links (the Link header, by rel:
	// links.next).
	Items expr.Value `yaml:"items"`

	// Cursor is the expression of the cursor in an answer, such as body.last_id: a text
	// or a number. While it gives another one than before, the next page is asked for at
	// once, and where it gives nil, the cursor stays as it is until the next poll.
	Cursor expr.Value `yaml:"cursor"`

	// Start is the cursor of the first request, empty by default.
	Start string `yaml:"start"`

	// NextURL is the expression of the URL of the next page, such as body.next or
	// links.next; nil ends the poll. It may be relative. It must have the same scheme
	// and host as url, because the credentials go there.
	NextURL expr.Value `yaml:"next_url"`

	// MaxPages is how many pages one poll takes, 100 by default. The next poll goes on
	// there.
	MaxPages int `yaml:"max_pages" min:"1"`

	// MaxBody is how large an answer may be, 8MiB by default, decompressed. A larger
	// one ends the pipeline with an error: ask for smaller pages.
	MaxBody pipe.Size `yaml:"max_body" min:"1"`

	// Checkpoint is a file that keeps the cursor, so that a restart goes on there. Its
	// directory must exist, and no other source may use it. Without a checkpoint every
	// start begins at start.
	Checkpoint string `yaml:"checkpoint"`

	// BackoffMin is the wait after the first error, 1s by default. Each further error
	// doubles it. Half of every wait is chance, so that clients do not come together.
	BackoffMin pipe.Duration `yaml:"backoff_min" above:"0s"`

	// BackoffMax is the longest wait after an error, 5m by default. A longer
	// Retry-After is cut to it.
	BackoffMax pipe.Duration `yaml:"backoff_max" above:"0s"`

	web.Login  `yaml:",inline"`
	web.Client `yaml:",inline"`

	log      *slog.Logger
	maxEvent int
	idle     *pipe.Clock
	held     *pipe.Clock // waits for a Retry-After
	far      *pipe.Clock // waits for an answer
	place    string
	pages    *pageBook
	now      place     // of the next request
	page     *openPage // being read, or nil
	began    time.Time // when this poll began
	asked    int       // pages of this poll
	due      time.Time // when the next request may be made
	failures int       // in a row
	closed   bool
	sleep    func(ctx context.Context, d time.Duration) error
}

const cursorPlace = "{cursor}"

// Validate checks the fields.
func (s *HTTPClient) Validate() error {
	var errs []error
	if err := web.CheckURL(strings.ReplaceAll(s.URL, cursorPlace, "0"), "basic_auth"); err != nil {
		errs = append(errs, err)
	} else if scheme, rest, _ := strings.Cut(s.URL, "://"); strings.Contains(scheme+strings.SplitN(rest, "/", 2)[0], cursorPlace) {
		errs = append(errs, pipe.Fieldf("url", "the cursor must not choose the host"))
	}
	errs = append(errs, validateCodec(&s.Codec)...)
	if s.Body != "" && s.Method != "POST" {
		errs = append(errs, pipe.Fieldf("body", "only POST has a body: set method: POST"))
	}
	if !s.Items.IsZero() && s.Codec.Type != codec.TypeJSON {
		errs = append(errs, pipe.Fieldf("items", "needs codec json, got %s", s.Codec.Type))
	}
	uses := strings.Contains(s.URL, cursorPlace) || strings.Contains(s.Body, cursorPlace)
	switch {
	case !s.Cursor.IsZero() && !uses:
		errs = append(errs, pipe.Fieldf("cursor", "it is not used: write {cursor} into url or body"))
	case uses && s.Cursor.IsZero():
		errs = append(errs, &pipe.FieldError{Field: "url", Err: errors.New("{cursor} needs the option cursor"), Hint: "cursor: body.next_cursor"})
	case !s.Cursor.IsZero() && !s.NextURL.IsZero():
		errs = append(errs, pipe.Fieldf("next_url", "cannot be combined with cursor"))
	case s.Start != "" && s.Cursor.IsZero():
		errs = append(errs, pipe.Fieldf("start", "needs cursor"))
	}
	if s.BackoffMax < s.BackoffMin {
		errs = append(errs, pipe.Fieldf("backoff_max", "must not be below backoff_min, which is %s", s.BackoffMin))
	}
	return errors.Join(append(errs, s.CheckLogin(), s.CheckHeaders(s.Taken()))...)
}

// Traits implements pipe.Traiter.
func (s *HTTPClient) Traits() pipe.Traits {
	t := pipe.Traits{Replays: !s.Cursor.IsZero()}
	if !t.Replays {
		t.Why = "without a cursor a server need not say again what it has said"
	}
	return t
}

// Open reads the checkpoint. It does not connect.
func (s *HTTPClient) Open(_ context.Context, env pipe.Env) error {
	s.log, s.maxEvent, s.idle = env.Log, env.MaxEventBytes, idle(env)
	if env.Meter != nil {
		s.held, s.far = &env.Meter.Throttled, &env.Meter.External
	}
	if s.sleep == nil {
		s.sleep = sleepFor
	}
	first, err := url.Parse(s.address(s.Start))
	if err != nil {
		return errors.New("url: this is not a URL")
	}
	s.place = web.Place(first)
	s.pages = &pageBook{path: s.Checkpoint}
	start := place{Page: 1, Cursor: s.Start}
	if s.Checkpoint == "" { // another run must not give its events the same identities
		start.Page = time.Now().UnixMilli()
	}
	if s.now, err = s.pages.load(start); err != nil {
		return err
	}
	if err := s.pages.save(true); err != nil { // an unwritable checkpoint shows now, not in a minute
		return err
	}
	return s.Prepare(s.address(""), 1)
}

func sleepFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Read implements pipe.Source.
func (s *HTTPClient) Read(ctx context.Context, b *pipe.Batch) error {
	for {
		if s.closed {
			return os.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.page == nil {
			if err := s.next(ctx); err != nil {
				return err
			}
			continue
		}
		switch err := s.page.reader.Read(b); {
		case err == nil:
			s.pages.read(s.page, s.page.reader.Last())
			return nil
		case err != io.EOF:
			return fmt.Errorf("%s %s: %w", s.Method, s.place, err)
		}
		s.pages.end(s.page)
		s.page = nil
	}
}

// Commit implements pipe.Committer.
func (s *HTTPClient) Commit(_ context.Context, marks []pipe.Mark) error {
	s.pages.settle(marks)
	return s.pages.save(false)
}

// Close keeps what is settled and closes the idle connections.
func (s *HTTPClient) Close(context.Context) error {
	s.closed = true
	s.Hang()
	if s.pages == nil {
		return nil
	}
	return s.pages.save(false)
}
