package sinks

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSink("influxdb", func() pipe.Sink {
		return &InfluxDB{Compress: codec.CompressGzip, Client: web.Defaults()}
	})
}

// InfluxDB writes events as points, in line protocol over the HTTP API of version 2
// (which version 3 and version 1.8 have, too), one request per batch.
//
// A point is known by its measurement, tags and time: one that is written again
// replaces itself, so nothing is there twice as long as time is a field of the
// event. For the same reason two events with the same measurement, tags and time are
// one point: the later one wins, field by field. Without time it is when the event
// was read, which is another one when it is read again after a crash.
//
// Points that InfluxDB refuses (400, 422: a field of another type than before, older
// than the bucket keeps) fail, and no others. InfluxDB does not say which they are,
// so the batch is sent again in parts until they are alone; what it had taken
// replaces itself. After 100 refusals the rest of a batch fails together. On 429,
// 503 and other 5xx the pipeline waits.
//
// Batches of about 5,000 points are what InfluxDB takes best.
//
// Example:
//
//	type: influxdb
//	url: https://influx.example.com:8086
//	org: shop
//	bucket: metrics
//	token: ${INFLUX_TOKEN:-}
//	measurement: '"requests"'
//	tags: {service: service, region: region}
//	fields: {ms: duration_ms, bytes: bytes}
//	time: timestamp
//	batch: {events: 5000, interval: 1s}
type InfluxDB struct {
	// URL is the address of the server: http://host:8086. /api/v2/write is added when
	// there is no path.
	URL string `yaml:"url" required:"true"`

	// Org is the name or the ID of the organisation. Version 1.8 and version 3 need
	// none.
	Org string `yaml:"org"`

	// Bucket is the bucket to write to; for version 1.8 database/retention-policy.
	Bucket string `yaml:"bucket" required:"true"`

	// Token is the API token; for version 1.8 user:password.
	Token string `yaml:"token" secret:"true"`

	// Measurement is the expression of the measurement, such as '"requests"' for one
	// that is always the same. An event for which it gives nothing fails, and one for
	// which it begins with #.
	Measurement expr.Value `yaml:"measurement" required:"true"`

	// Tags are names with the fields or expressions of their values. One that is nil or
	// empty is left out. Backslashes at the end of a value are left out, which line
	// protocol cannot say, and line breaks become \n. Use tags for what has few values.
	Tags pipe.OrderedMap[expr.Value] `yaml:"tags"`

	// Fields are names with the fields or expressions of their values: numbers,
	// booleans and texts. One that is nil is left out; an event that has none fails. By
	// default they are all fields at the top of the event that are numbers, booleans
	// or texts, except those that measurement, tags and time read, and those whose
	// names line protocol cannot say: with a line break, or a backslash at the end.
	Fields pipe.OrderedMap[expr.Value] `yaml:"fields"`

	// Integers writes numbers without a fraction as integers. By default all numbers
	// are floats, because a field has one type for ever, and 5 and 5.5 would be two.
	Integers bool `yaml:"integers"`

	// Time is the time of the point: a field or an expression that gives a text such
	// as 2026-03-01T12:00:00.123Z, or a number of seconds since 1970. By default it is
	// when the event was read.
	Time expr.Value `yaml:"time"`

	// Compress compresses the requests: gzip, the default, or none.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip"`

	web.Client `yaml:",inline"`

	post  poster
	spent map[string]bool // the fields that are not fields of points
}

// Validate checks what the rules of single fields do not.
func (s *InfluxDB) Validate() error {
	if err := web.CheckURL(s.URL, "token"); err != nil {
		return err
	}
	if strings.Contains(s.URL, "?") {
		return pipe.Fieldf("url", "it must end with the host or a path: use org and bucket")
	}
	for option, names := range map[string]pipe.OrderedMap[expr.Value]{"tags": s.Tags, "fields": s.Fields} {
		for _, n := range names {
			if !pointName(n.Key) {
				return pipe.Fieldf(option+"."+n.Key, "this cannot be a name: it is empty, has a line break, or ends with a backslash")
			}
		}
	}
	taken := map[string]string{}
	if s.Token != "" {
		taken["Authorization"] = "token"
	}
	return s.CheckHeaders(taken)
}

// pointName reports whether line protocol can say a name.
func pointName(name string) bool {
	return name != "" && !strings.ContainsAny(name, "\n\r") && !strings.HasSuffix(name, `\`)
}

// Open prepares the client. It does not connect.
func (s *InfluxDB) Open(context.Context, pipe.Env) error {
	s.spent = map[string]bool{}
	for _, of := range slices.Concat([]pipe.Pair[expr.Value]{{Value: s.Measurement}, {Value: s.Time}}, s.Tags) {
		for _, root := range of.Value.Roots() {
			s.spent[root] = true
		}
	}
	query := url.Values{"bucket": {s.Bucket}, "precision": {"ns"}}
	if s.Org != "" {
		query.Set("org", s.Org)
	}
	s.post = poster{client: &s.Client, method: http.MethodPost, url: withPath(s.URL, "/api/v2/write") + "?" + query.Encode(), compress: s.Compress, header: s.header}
	return s.post.open()
}

func (s *InfluxDB) header(req *http.Request, _ []*pipe.Event) {
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if s.Token != "" {
		req.Header.Set("Authorization", "Token "+s.Token)
	}
}

// Write writes in.
func (s *InfluxDB) Write(ctx context.Context, in []*pipe.Event) error {
	return deliver(ctx, in, s.attempt)
}

func (s *InfluxDB) attempt(ctx context.Context, in []*pipe.Event) (bad []pipe.ItemError, err error) {
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
	err = answer.Judge(map[int]string{
		http.StatusUnauthorized:          "check token",
		http.StatusNotFound:              "check org, bucket and the path in url",
		http.StatusRequestEntityTooLarge: lowerBatch(n, p),
	})
	if answer.Code == http.StatusBadRequest || answer.Code == http.StatusUnprocessableEntity {
		err = &refused{err: err, at: -1}
	}
	return bad, err
}

// MaxConcurrent returns how many requests may be under way.
func (s *InfluxDB) MaxConcurrent() int { return maxConnections }

// Close closes the idle connections.
func (s *InfluxDB) Close(context.Context) error {
	s.Hang()
	return nil
}
