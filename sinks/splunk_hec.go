package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSink("splunk_hec", func() pipe.Sink {
		return &SplunkHEC{Compress: codec.CompressGzip, Client: web.Defaults()}
	})
}

// SplunkHEC sends events to Splunk's HTTP Event Collector, one request per batch.
//
// It can repeat events: Splunk has no identity for them, so a batch whose answer got
// lost is there twice. It can lose what Splunk loses: the answer that confirms a
// batch says that Splunk has it in its queue, not that it is on its disk. Indexer
// acknowledgement is not supported: the token must not demand it.
//
// Splunk refuses a request for one event that it cannot take (one that is blank, a
// field that is nested, an index that the token may not write to). The batch is then
// sent in parts until that event is alone; it fails, and all others are there, some
// of them twice. After 100 refusals the rest of a batch fails together. While Splunk
// is busy (503, or 429) the pipeline waits.
//
// Splunk takes requests of up to 1 MB by default, measured before they are
// compressed.
//
// Example:
//
//	type: splunk_hec
//	url: https://splunk.example.com:8088
//	token: ${SPLUNK_TOKEN:-}
//	index: '"web"'
//	sourcetype: '"_json"'
//	host: hostname
//	time: timestamp
//	batch: {events: 500, bytes: 800KiB, interval: 1s}
type SplunkHEC struct {
	// URL is the address of the collector: https://host:8088. /services/collector/event
	// is added when there is no path.
	URL string `yaml:"url" required:"true"`

	// Token is the collector's token.
	Token string `yaml:"token" required:"true" secret:"true"`

	// Event is the expression of what is indexed. By default it is the whole event:
	// the text, or the object. An event for which it is nil or blank fails.
	Event expr.Value `yaml:"event"`

	// Index is the expression of the index; by default the token decides.
	Index expr.Value `yaml:"index"`

	// Source is the expression of the source; by default the token decides.
	Source expr.Value `yaml:"source"`

	// Sourcetype is the expression of the source type; by default the token decides.
	Sourcetype expr.Value `yaml:"sourcetype"`

	// Host is the expression of the host; by default Splunk takes this machine's
	// address.
	Host expr.Value `yaml:"host"`

	// Fields are indexed fields: names with the fields or expressions of their
	// values.
	Fields pipe.OrderedMap[expr.Value] `yaml:"fields"`

	// Time is the time of the event: a field or an expression that gives a text such
	// as 2026-03-01T12:00:00.123Z, or a number of seconds since 1970. By default it is
	// when the event was read. Splunk keeps milliseconds.
	Time expr.Value `yaml:"time"`

	// Compress compresses the requests: gzip, the default, or none.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip"`

	web.Client `yaml:",inline"`

	post poster
}

// Validate checks what the rules of single fields do not.
func (s *SplunkHEC) Validate() error {
	if err := web.CheckURL(s.URL, "token"); err != nil {
		return err
	}
	if strings.ContainsAny(s.Token, " \r\n\x00") {
		return pipe.Fieldf("token", "it must be the token alone, without the word Splunk")
	}
	return s.CheckHeaders(map[string]string{"Authorization": "token"})
}

// Open prepares the client. It does not connect.
func (s *SplunkHEC) Open(context.Context, pipe.Env) error {
	s.post = poster{client: &s.Client, method: http.MethodPost, url: withPath(s.URL, "/services/collector/event"), compress: s.Compress, header: s.header}
	return s.post.open()
}

func (s *SplunkHEC) header(req *http.Request, _ []*pipe.Event) {
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Splunk "+s.Token)
}

// Write sends in.
func (s *SplunkHEC) Write(ctx context.Context, in []*pipe.Event) error {
	return deliver(ctx, in, s.attempt)
}

func (s *SplunkHEC) attempt(ctx context.Context, in []*pipe.Event) (bad []pipe.ItemError, err error) {
	p := s.post.take()
	defer s.post.recycle(p)
	var a record.Arena
	for i, e := range in {
		start := len(p.raw)
		if p.raw, err = s.append(p.raw, e, &a); err != nil {
			p.raw = p.raw[:start]
			bad = append(bad, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, err)})
		}
	}
	n := len(in) - len(bad)
	if n == 0 {
		return bad, nil
	}
	answer, err := s.post.send(ctx, p, in, web.MaxExcerpt)
	if err != nil {
		return bad, err
	}
	return bad, s.judge(answer, n, p)
}

// append appends an event in Splunk's envelope.
func (s *SplunkHEC) append(dst []byte, e *pipe.Event, a *record.Arena) ([]byte, error) {
	ns, err := timeOf("time", &s.Time, e, a)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `{"time":`...)
	dst = strconv.AppendFloat(dst, float64(ns/1e6)/1e3, 'f', 3, 64)
	for _, meta := range []struct {
		name string
		of   *expr.Value
	}{{"host", &s.Host}, {"source", &s.Source}, {"sourcetype", &s.Sourcetype}, {"index", &s.Index}} {
		if meta.of.IsZero() {
			continue
		}
		text, err := textOf(meta.name, meta.of, e, a)
		if err != nil {
			return dst, err
		}
		if text != nil {
			dst = append(append(append(dst, `,"`...), meta.name...), `":`...)
			dst = record.AppendQuoted(dst, text)
		}
	}
	if dst, err = s.appendFields(dst, e, a); err != nil {
		return dst, err
	}
	dst = append(dst, `,"event":`...)
	if dst, err = s.appendEvent(dst, e, a); err != nil {
		return dst, err
	}
	return append(dst, '}', '\n'), nil
}

func (s *SplunkHEC) appendFields(dst []byte, e *pipe.Event, a *record.Arena) ([]byte, error) {
	sep := `,"fields":{`
	for i := range s.Fields {
		f := &s.Fields[i]
		text, err := textOf("fields."+f.Key, &f.Value, e, a)
		if err != nil {
			return dst, err
		}
		if text == nil {
			continue
		}
		dst = record.AppendQuoted(append(dst, sep...), []byte(f.Key))
		dst = record.AppendQuoted(append(dst, ':'), text)
		sep = ","
	}
	if sep == "," {
		dst = append(dst, '}')
	}
	return dst, nil
}

var errBlank = errors.New("event: it is blank, and Splunk takes none that is")

func (s *SplunkHEC) appendEvent(dst []byte, e *pipe.Event, a *record.Arena) ([]byte, error) {
	switch {
	case !s.Event.IsZero():
		v, err := s.Event.Eval(e, a)
		if err != nil {
			return dst, err
		}
		if v.Kind() == record.KindNull || !v.Exists() || v.Kind() == record.KindString && len(v.Bytes(nil)) == 0 {
			return dst, errBlank
		}
		return v.AppendJSON(dst), nil
	case e.Body.IsText():
		text := e.Body.AppendText(nil)
		if len(text) == 0 {
			return dst, errBlank
		}
		return record.AppendQuoted(dst, text), nil
	}
	return e.Body.AppendJSON(dst), nil
}

// hecAnswer is what the collector says.
type hecAnswer struct {
	Code   int  `json:"code"`
	Number *int `json:"invalid-event-number"`
}

// The codes of the collector that are about an event: invalid format, incorrect
// index, event required, event blank, error in the indexed fields.
var hecOfEvents = []int{6, 7, 12, 13, 15}

func (s *SplunkHEC) judge(a *web.Answer, events int, p *payload) error {
	var said hecAnswer
	if json.Unmarshal(a.Body, &said) != nil {
		said = hecAnswer{}
	}
	remedies := map[int]string{
		http.StatusUnauthorized:          "check token",
		http.StatusForbidden:             "the token is unknown or disabled",
		http.StatusRequestEntityTooLarge: lowerBatch(events, p),
	}
	if said.Code == 10 || said.Code == 11 {
		remedies[http.StatusBadRequest] = "the token demands indexer acknowledgement: use one that does not"
	}
	err := a.Judge(remedies)
	if a.Code != http.StatusBadRequest || !slices.Contains(hecOfEvents, said.Code) {
		return err
	}
	at := -1
	if said.Number != nil {
		at = *said.Number
	}
	return &refused{err: err, at: at}
}

// MaxConcurrent returns how many requests may be under way.
func (s *SplunkHEC) MaxConcurrent() int { return maxConnections }

// Close closes the idle connections.
func (s *SplunkHEC) Close(context.Context) error {
	s.Hang()
	return nil
}
