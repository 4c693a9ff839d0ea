package sinks

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSink("clickhouse", func() pipe.Sink {
		return &ClickHouse{Database: "default", Deduplicate: true, Compress: codec.CompressGzip, Client: web.Defaults()}
	})
}

// ClickHouse inserts events as rows into a table, over HTTP, one INSERT per batch
// in the format JSONEachRow: the fields of an event are the columns.
//
// A batch is confirmed once ClickHouse has written it. One whose answer got lost is
// sent again: with the same deduplication token, by which a replicated table (or
// one with non_replicated_deduplication_window) knows it; in any other table it is
// there twice. An insert of less than max_insert_block_size rows (about a million)
// into one partition is there as a whole or not at all.
//
// A row that does not fit the table makes ClickHouse refuse the whole insert. The
// batch is then sent in parts until the row is alone; it fails, and all others are
// there. After 100 refusals the rest of a batch fails together. While there are too
// many parts or too many queries, or no memory, the pipeline waits.
//
// Each insert becomes a part that ClickHouse has to merge: use large batches, of
// 1,000 to 100,000 rows, about one a second. Where that cannot be, set async_insert.
//
// Example:
//
//	type: clickhouse
//	url: https://clickhouse.example.com:8443
//	database: logs
//	table: requests
//	basic_auth: {user: pipectl, password: "${PASSWORD:-}"}
//	batch: {events: 20000, bytes: 10MiB, interval: 1s}
type ClickHouse struct {
	// URL is the address of the HTTP interface: http://host:8123.
	URL string `yaml:"url" required:"true"`

	// Database is the table's database, "default" by default.
	Database string `yaml:"database"`

	// Table is the name of the table. It must exist.
	Table string `yaml:"table" required:"true"`

	// SkipUnknownFields leaves out the fields for which the table has no column. By
	// default such an event fails, so that nothing is lost unnoticed. What fields of a
	// row are missing become the defaults of their columns.
	SkipUnknownFields bool `yaml:"skip_unknown_fields"`

	// AsyncInsert lets ClickHouse collect the rows of several inserts before it
	// writes them: for small batches. It answers once they are written all the same,
	// so nothing is lost by it; but it does not know a batch that is sent again,
	// unless async_insert_deduplicate is among the settings.
	AsyncInsert bool `yaml:"async_insert"`

	// Deduplicate sends a token with each insert that is made of the IDs of its
	// events, by which ClickHouse knows a batch that is sent again. On by default;
	// servers before 21.9 do not know it.
	Deduplicate bool `yaml:"deduplicate"`

	// Settings are settings of ClickHouse for the inserts, beside those that the
	// sink sends: wait_end_of_query, and date_time_input_format: best_effort so that
	// times such as 2026-03-01T12:00:00Z can be read.
	Settings map[string]string `yaml:"settings"`

	// Compress compresses the requests: gzip (the default), zstd or none.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip,zstd"`

	web.Login  `yaml:",inline"`
	web.Client `yaml:",inline"`

	post poster
}

// Validate checks what the rules of single fields do not.
func (s *ClickHouse) Validate() error {
	if err := web.CheckURL(s.URL, "basic_auth"); err != nil {
		return err
	}
	if strings.Contains(s.URL, "?") {
		return pipe.Fieldf("url", "it must end with the host or a path: use settings for what is behind the question mark")
	}
	for _, name := range []string{s.Database, s.Table} {
		if name == "" || strings.ContainsAny(name, "\x00\n") {
			return pipe.Fieldf("table", "database and table must be names, without line breaks")
		}
	}
	for name := range s.Settings {
		if name == "" || name == "query" || name == "database" || name == "wait_end_of_query" || name == "wait_for_async_insert" {
			return pipe.Fieldf("settings."+name, "is set by the sink")
		}
	}
	if err := s.CheckLogin(); err != nil {
		return err
	}
	return s.CheckHeaders(s.Taken())
}

// Open prepares the client. It does not connect.
func (s *ClickHouse) Open(context.Context, pipe.Env) error {
	s.post = poster{client: &s.Client, method: http.MethodPost, url: s.address(), compress: s.Compress, header: s.header}
	return s.post.open()
}

// address is the URL of the inserts, without the token.
func (s *ClickHouse) address() string {
	query := url.Values{
		"query":                  {"INSERT INTO " + quoteName(s.Database) + "." + quoteName(s.Table) + " FORMAT JSONEachRow"},
		"wait_end_of_query":      {"1"},
		"date_time_input_format": {"best_effort"},
	}
	if s.SkipUnknownFields {
		query.Set("input_format_skip_unknown_fields", "1")
	}
	if s.AsyncInsert {
		query.Set("async_insert", "1")
		query.Set("wait_for_async_insert", "1")
	}
	for name, value := range s.Settings {
		query.Set(name, value)
	}
	return strings.TrimRight(s.URL, "/") + "/?" + query.Encode()
}

// quoteName writes a name as SQL wants it.
func quoteName(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}

func (s *ClickHouse) header(req *http.Request, in []*pipe.Event) {
	req.Header.Set("Content-Type", "application/x-ndjson")
	s.Authorize(req)
	if s.Deduplicate {
		req.URL.RawQuery += "&insert_deduplication_token=" + idempotencyKey(in)
	}
}

// Write inserts in.
func (s *ClickHouse) Write(ctx context.Context, in []*pipe.Event) error {
	return deliver(ctx, in, s.attempt)
}

func (s *ClickHouse) attempt(ctx context.Context, in []*pipe.Event) ([]pipe.ItemError, error) {
	p := s.post.take()
	defer s.post.recycle(p)
	for _, e := range in {
		p.raw = append(e.Body.AppendJSON(p.raw), '\n')
	}
	answer, err := s.post.send(ctx, p, in, maxException)
	if err != nil {
		return nil, err
	}
	return nil, s.judge(answer, len(in), p)
}

// maxException is how much of an answer is searched for an exception, in bytes.
const maxException = 16 << 10

var exceptionCode = regexp.MustCompile(`Code: (\d+)[.,]`)

// judge classes an answer. An insert that fails late is answered with 200, and the
// exception in the body.
func (s *ClickHouse) judge(a *web.Answer, events int, p *payload) error {
	code, _ := strconv.Atoi(a.Header.Get("X-ClickHouse-Exception-Code"))
	if i := bytes.Index(a.Body, []byte("DB::Exception")); code == 0 && i >= 0 {
		if m := exceptionCode.FindSubmatch(a.Body); m != nil {
			code, _ = strconv.Atoi(string(m[1]))
		} else {
			code = -1
		}
	}
	if code == 0 {
		return a.Judge(map[int]string{http.StatusRequestEntityTooLarge: lowerBatch(events, p)})
	}
	if i := bytes.Index(a.Body, []byte("Code: ")); i > 0 { // behind what there was of a result
		a.Body = a.Body[i:]
	}
	err := a.Errorf("clickhouse says no, with %d %s", a.Code, http.StatusText(a.Code))
	switch {
	case slices.Contains(exceptionsOfRows, code):
		return &refused{err: pipe.Classed(pipe.Permanent, err), at: -1}
	case slices.Contains(exceptionsOfLoad, code):
		return pipe.Classed(pipe.Throttled, err)
	case slices.Contains(exceptionsOfSetup, code):
		return pipe.Classed(pipe.Permanent, fmt.Errorf("%w: check the table, the credentials and the settings", err))
	}
	return pipe.Classed(pipe.Retryable, err)
}

// The codes of ClickHouse's exceptions that are not simply tried again.
var (
	// A row does not fit: text that cannot be parsed, a type, a value or a column
	// that the table does not have.
	exceptionsOfRows = []int{6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 376, 407, 441, 467, 469, 636, 675, 676, 691}

	// It is busy: too many queries, no memory, too many parts, too many bytes or
	// inserts at once.
	exceptionsOfLoad = []int{202, 241, 252, 745}

	// Nothing of this kind will ever be taken: an unknown table, column, database,
	// setting or user, a wrong password, no permission, a syntax error.
	exceptionsOfSetup = []int{16, 36, 47, 48, 60, 62, 73, 81, 115, 164, 192, 193, 194, 195, 291, 497, 516}
)

// MaxConcurrent returns how many requests may be under way.
func (s *ClickHouse) MaxConcurrent() int { return maxConnections }

// Close closes the idle connections.
func (s *ClickHouse) Close(context.Context) error {
	s.Hang()
	return nil
}
