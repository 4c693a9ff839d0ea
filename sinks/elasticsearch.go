package sinks

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"github.com/pipectl/pipectl/engine/web"
)

func init() {
	pipe.RegisterSink("elasticsearch", func() pipe.Sink {
		return &Elasticsearch{Operation: opIndex, Compress: codec.CompressGzip, Client: web.Defaults()}
	})
}

// The values of operation.
const (
	opIndex  = "index"
	opCreate = "create"
)

// Elasticsearch writes events as documents into Elasticsearch or OpenSearch, one
// _bulk request per batch, and confirms each document by its own status.
//
// With an id nothing is there twice: a batch whose answer got lost is sent again,
// and index writes the same documents over themselves, while create finds them
// there (409), which counts as delivered. So with create, of two different events
// with the same id the first one stays. Without an id, Elasticsearch makes one at
// every attempt, and a batch that is sent again is there twice.
//
// A document that does not fit the mapping (400) fails alone; the others of its
// batch are delivered. Documents that the cluster has no room for at the moment
// (429 or 5xx, of the request or of single documents) are sent again, and nothing
// else of the batch. Meanwhile the pipeline waits. Text is sent as the field
// message.
//
// Batches of 5 to 15 MiB are what Elasticsearch takes best; it refuses requests
// above 100 MB.
//
// Example:
//
//	type: elasticsearch
//	url: https://search.example.com:9200
//	index: '"logs-" + service'
//	id: event_id
//	operation: create
//	basic_auth: {user: pipectl, password: "${PASSWORD:-}"}
//	batch: {events: 2000, bytes: 5MiB, interval: 1s}
type Elasticsearch struct {
	// URL is the address of the cluster: http://host:9200, with a path where it
	// stands behind a proxy.
	URL string `yaml:"url" required:"true"`

	// Index is the index, alias or data stream to write to: an expression, such as
	// '"logs"' for one that is always the same, or '"logs-" + service'. An event for
	// which it gives no text fails. A data stream needs operation: create.
	Index expr.Value `yaml:"index" required:"true"`

	// ID is the document's id: a field or an expression, of at most 512 bytes. An
	// event without one (nil) fails. When it is left out, Elasticsearch makes an id,
	// and what is sent twice is there twice.
	ID expr.Value `yaml:"id"`

	// Operation is index (the default), which replaces a document with the same id,
	// or create, which leaves it as it is.
	Operation string `yaml:"operation" enum:"index,create"`

	// Pipeline is the ingest pipeline of the cluster to send the documents through.
	// By default the index decides.
	Pipeline string `yaml:"pipeline"`

	// APIKey is sent as "Authorization: ApiKey KEY": the encoded form that
	// Elasticsearch gives.
	APIKey string `yaml:"api_key" secret:"true"`

	// Compress compresses the requests: gzip, the default, or none.
	Compress codec.Compression `yaml:"compress" enum:"none,gzip"`

	web.Login  `yaml:",inline"`
	web.Client `yaml:",inline"`

	post poster
}

// Validate checks what the rules of single fields do not.
func (s *Elasticsearch) Validate() error {
	if err := web.CheckURL(s.URL, "basic_auth"); err != nil {
		return err
	}
	if strings.Contains(s.URL, "?") {
		return pipe.Fieldf("url", "it must end with the host or a path: the query is the sink's")
	}
	if err := s.CheckLogin(); err != nil {
		return err
	}
	taken := s.Taken()
	if s.APIKey != "" && taken != nil {
		return pipe.Fieldf("api_key", "cannot be combined with basic_auth or bearer_token: all set the Authorization header")
	} else if s.APIKey != "" {
		taken = map[string]string{"Authorization": "api_key"}
	}
	return s.CheckHeaders(taken)
}

// Open prepares the client. It does not connect.
func (s *Elasticsearch) Open(context.Context, pipe.Env) error {
	s.post = poster{client: &s.Client, method: http.MethodPost, compress: s.Compress, header: s.header,
		url: strings.TrimRight(s.URL, "/") + "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"}
	return s.post.open()
}

func (s *Elasticsearch) header(req *http.Request, _ []*pipe.Event) {
	req.Header.Set("Content-Type", "application/x-ndjson")
	if s.APIKey != "" {
		req.Header.Set("Authorization", "ApiKey "+s.APIKey)
	}
	s.Authorize(req)
}

// Write sends in as one _bulk request.
func (s *Elasticsearch) Write(ctx context.Context, in []*pipe.Event) error {
	return deliver(ctx, in, s.attempt)
}

func (s *Elasticsearch) attempt(ctx context.Context, in []*pipe.Event) (bad []pipe.ItemError, err error) {
	p := s.post.take()
	defer s.post.recycle(p)
	var a record.Arena
	sent := make([]int, 0, len(in)) // where the documents come from
	for i, e := range in {
		if p.raw, err = s.append(p.raw, e, &a); err != nil {
			bad = append(bad, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, err)})
			continue
		}
		sent = append(sent, i)
	}
	if len(sent) == 0 {
		return bad, nil
	}
	answer, err := s.post.send(ctx, p, in, int64(maxItemAnswer*len(sent)+web.MaxExcerpt+1))
	if err != nil {
		return bad, err
	}
	if err := answer.Judge(map[int]string{http.StatusRequestEntityTooLarge: lowerBatch(len(sent), p)}); err != nil {
		return bad, err
	}
	items, err := s.judge(answer, len(sent))
	for _, it := range items {
		bad = append(bad, pipe.ItemError{Index: sent[it.Index], Err: it.Err})
	}
	return inOrder(bad), err
}

// append appends an event as an action and a document.
func (s *Elasticsearch) append(dst []byte, e *pipe.Event, a *record.Arena) ([]byte, error) {
	start := len(dst)
	dst = append(dst, `{"`...)
	dst = append(dst, s.Operation...)
	dst = append(dst, `":{"_index":`...)
	dst, err := appendName(dst, "index", &s.Index, e, a)
	if err != nil {
		return dst[:start], err
	}
	if !s.ID.IsZero() {
		dst = append(dst, `,"_id":`...)
		if dst, err = appendName(dst, "id", &s.ID, e, a); err != nil {
			return dst[:start], err
		}
	}
	if s.Pipeline != "" {
		dst = append(dst, `,"pipeline":`...)
		dst = record.AppendQuoted(dst, []byte(s.Pipeline))
	}
	dst = append(dst, "}}\n"...)
	return append(e.Body.AppendJSON(dst), '\n'), nil
}

// maxName is how long an id may be, and an index name, in bytes.
const maxName = 512

// appendName appends the result of an expression, which must be a text or a
// number, as a JSON string.
func appendName(dst []byte, option string, v *expr.Value, e *pipe.Event, a *record.Arena) ([]byte, error) {
	text, err := textOf(option, v, e, a)
	switch {
	case err != nil:
		return dst, err
	case text == nil:
		return dst, fmt.Errorf("%s: %s gives nothing", option, v.Source())
	case len(text) > maxName:
		return dst, fmt.Errorf("%s: has %d bytes, at most %d are allowed", option, len(text), maxName)
	}
	return record.AppendQuoted(dst, text), nil
}

// MaxConcurrent returns how many requests may be under way.
func (s *Elasticsearch) MaxConcurrent() int { return maxConnections }

// Close closes the idle connections.
func (s *Elasticsearch) Close(context.Context) error {
	s.Hang()
	return nil
}
