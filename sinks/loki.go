package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSink("loki", func() pipe.Sink {
		return &Loki{MaxStreams: 1000, Compress: codec.CompressGzip, Client: web.Defaults()}
	})
}

// Loki pushes events as log lines to Grafana Loki, one request per batch.
//
// A batch whose answer got lost is sent again. Loki shows a line only once that it
// has got twice with the same labels and the same time, so give time a field of the
// event: otherwise it is the time of reading, and lines that are read again after a
// crash are there twice.
//
// Lines that Loki refuses (400: too old, too far behind the newest line of their
// stream, too long, a bad label) fail, and no others: Loki takes the rest of the
// batch, but does not say reliably what it took, so the batch is sent again in parts
// until the refused lines are alone. After 100 refusals the rest of a batch fails
// together. On 429 (the tenant's rate limit) and 5xx the pipeline waits.
//
// Every combination of label values is a stream, and streams are what Loki can bear
// few of: use labels for what has few values (the service, the level), never for
// users or requests. The sink counts them, see max_streams.
//
// Example:
//
//	type: loki
//	url: https://loki.example.com
//	labels: {job: '"shop"', service: service, level: level}
//	time: timestamp
//	tenant: team-a
//	batch: {events: 1000, bytes: 1MiB, interval: 1s}
type Loki struct {
	// URL is the address of Loki: http://host:3100. /loki/api/v1/push is added when
	// there is no path.
	URL string `yaml:"url" required:"true"`

	// Labels make the stream: names with the fields or expressions that give their
	// values. One that gives nil is left out; an event without any label fails.
	Labels pipe.OrderedMap[expr.Value] `yaml:"labels" required:"true"`

	// MaxStreams is how many streams may be active, 1000 by default. An event that
	// would need another one fails. A stream is active for 30 minutes after its last
	// event, as in Loki itself.
	MaxStreams int `yaml:"max_streams" min:"1" max:"1000000"`

	// Line is the expression of the log line. By default it is the whole event: the
	// text, or the event as JSON.
	Line expr.Value `yaml:"line"`

	// Metadata is structured metadata: names with fields or expressions, for what has
	// many values. Loki takes it since version 3, or with
	// allow_structured_metadata.
	Metadata pipe.OrderedMap[expr.Value] `yaml:"metadata"`

	// Time is the time of the line: a field or an expression that gives a text such
	// as 2026-03-01T12:00:00.123Z, or a number of seconds since 1970. By default it is
	// when the event was read.
	Time expr.Value `yaml:"time"`

	// Tenant is sent as X-Scope-OrgID, to a Loki with several tenants.
	Tenant string `yaml:"tenant"`

	// Compress compresses the requests: gzip, the default, or none.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip"`

	web.Login  `yaml:",inline"`
	web.Client `yaml:",inline"`

	post    poster
	streams activeStreams
}

const lokiPush = "/loki/api/v1/push"

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// Validate checks what the rules of single fields do not.
func (s *Loki) Validate() error {
	if err := web.CheckURL(s.URL, "basic_auth"); err != nil {
		return err
	}
	for option, names := range map[string]pipe.OrderedMap[expr.Value]{"labels": s.Labels, "metadata": s.Metadata} {
		for _, l := range names {
			if !labelName.MatchString(l.Key) || option == "labels" && strings.HasPrefix(l.Key, "__") {
				return pipe.Fieldf(option+"."+l.Key, "this cannot be the name of a label: letters, digits and _, and not __ at the beginning")
			}
		}
	}
	if err := s.CheckLogin(); err != nil {
		return err
	}
	taken := s.Taken()
	if s.Tenant != "" {
		if strings.ContainsAny(s.Tenant, "\r\n\x00") {
			return pipe.Fieldf("tenant", "it has a line break")
		}
		if taken == nil {
			taken = map[string]string{}
		}
		taken["X-Scope-OrgID"] = "tenant"
	}
	return s.CheckHeaders(taken)
}

// Open prepares the client. It does not connect.
func (s *Loki) Open(context.Context, pipe.Env) error {
	s.streams = activeStreams{limit: s.MaxStreams, last: map[string]time.Time{}}
	s.post = poster{client: &s.Client, method: http.MethodPost, url: withPath(s.URL, lokiPush), compress: s.Compress, header: s.header}
	return s.post.open()
}

// withPath adds the usual path to an address that has none.
func withPath(address, path string) string {
	if scheme, rest, _ := strings.Cut(address, "://"); !strings.Contains(strings.TrimRight(rest, "/"), "/") {
		return scheme + "://" + strings.TrimRight(rest, "/") + path
	}
	return address
}

func (s *Loki) header(req *http.Request, _ []*pipe.Event) {
	req.Header.Set("Content-Type", "application/json")
	if s.Tenant != "" {
		req.Header.Set("X-Scope-OrgID", s.Tenant)
	}
	s.Authorize(req)
}

// Write pushes in.
func (s *Loki) Write(ctx context.Context, in []*pipe.Event) error { return deliver(ctx, in, s.attempt) }

func (s *Loki) attempt(ctx context.Context, in []*pipe.Event) ([]pipe.ItemError, error) {
	p := s.post.take()
	defer s.post.recycle(p)
	bad := s.encode(p, in, time.Now())
	n := len(in) - len(bad)
	if n == 0 {
		return bad, nil
	}
	answer, err := s.post.send(ctx, p, in, web.MaxExcerpt)
	if err != nil {
		return bad, err
	}
	err = answer.Judge(map[int]string{http.StatusRequestEntityTooLarge: lowerBatch(n, p)})
	if answer.Code == http.StatusBadRequest {
		err = &refused{err: err, at: -1}
	}
	return bad, err
}

// encode writes the body of a push request. Events that cannot be encoded are left
// out and returned.
func (s *Loki) encode(p *payload, in []*pipe.Event, now time.Time) (bad []pipe.ItemError) {
	var a record.Arena
	var order []string
	values := map[string][]byte{} // by the labels as JSON
	for i, e := range in {
		labels, err := s.labels(&s.Labels, "labels", e, &a)
		if err == nil && len(labels) == len("{}") {
			err = errors.New("labels: none of them has a value")
		}
		var value []byte
		if err == nil {
			value, err = s.appendValue(values[labels], e, &a)
		}
		if err == nil {
			err = s.streams.use(labels, now)
		}
		if err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, err)})
			continue
		}
		if values[labels] == nil {
			order = append(order, labels)
		}
		values[labels] = value
	}
	p.raw = append(p.raw, `{"streams":[`...)
	for i, labels := range order {
		if i > 0 {
			p.raw = append(p.raw, ',')
		}
		p.raw = append(append(append(p.raw, `{"stream":`...), labels...), `,"values":[`...)
		p.raw = append(append(p.raw, values[labels][1:]...), "]}"...) // without the first comma
	}
	p.raw = append(p.raw, "]}"...)
	return bad
}

// labels returns named values as a JSON object.
func (s *Loki) labels(names *pipe.OrderedMap[expr.Value], option string, e *pipe.Event, a *record.Arena) (string, error) {
	object := []byte{'{'}
	for i := range *names {
		l := &(*names)[i]
		text, err := textOf(option+"."+l.Key, &l.Value, e, a)
		if err != nil {
			return "", err
		}
		if text == nil {
			continue
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(append(append(object, '"'), l.Key...), `":`...)
		object = record.AppendQuoted(object, text)
	}
	return string(append(object, '}')), nil
}

// appendValue appends a line with its time, with a comma before it.
func (s *Loki) appendValue(dst []byte, e *pipe.Event, a *record.Arena) ([]byte, error) {
	ns, err := timeOf("time", &s.Time, e, a)
	if err != nil {
		return dst, err
	}
	line, err := s.line(e, a)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `,["`...)
	dst = append(strconv.AppendInt(dst, ns, 10), `",`...)
	dst = record.AppendQuoted(dst, line)
	if len(s.Metadata) > 0 {
		metadata, err := s.labels(&s.Metadata, "metadata", e, a)
		if err != nil {
			return dst, err
		}
		dst = append(append(dst, ','), metadata...)
	}
	return append(dst, ']'), nil
}

func (s *Loki) line(e *pipe.Event, a *record.Arena) ([]byte, error) {
	switch {
	case !s.Line.IsZero():
		line, err := textOf("line", &s.Line, e, a)
		if err == nil && line == nil {
			err = fmt.Errorf("line: %s gives nothing", s.Line.Source())
		}
		return line, err
	case e.Body.IsText():
		return e.Body.AppendText(nil), nil
	}
	return e.Body.AppendJSON(nil), nil
}

// MaxConcurrent returns how many requests may be under way.
func (s *Loki) MaxConcurrent() int { return maxConnections }

// Close closes the idle connections.
func (s *Loki) Close(context.Context) error {
	s.Hang()
	return nil
}

// streamIdle is how long a stream counts after its last event.
const streamIdle = 30 * time.Minute

// activeStreams bounds how many streams there are.
type activeStreams struct {
	limit int

	mu    sync.Mutex // guards what follows
	last  map[string]time.Time
	swept time.Time
}

// use notes that an event of a stream is sent, or refuses a new stream.
func (a *activeStreams) use(labels string, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.last[labels]; !known && len(a.last) >= a.limit {
		if now.Sub(a.swept) > time.Minute { // looking costs time, too
			a.swept = now
			for l, at := range a.last {
				if now.Sub(at) > streamIdle {
					delete(a.last, l)
				}
			}
		}
		if len(a.last) >= a.limit {
			return fmt.Errorf("this would be one stream more than max_streams, which is %d: %.200s; use labels for what has few values, or raise it", a.limit, labels)
		}
	}
	a.last[labels] = now
	return nil
}
