package sinks

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func elasticTo(t testing.TB, f *far, set func(*Elasticsearch)) *Elasticsearch {
	return fresh(t, "elasticsearch", func(s *Elasticsearch) {
		s.URL, s.Index = f.URL, ex(t, `"logs"`)
		if set != nil {
			set(s)
		}
	})
}

func TestElasticsearchConformance(t *testing.T) {
	service{
		new: func(t *testing.T, f *far) pipe.Sink { return elasticTo(t, f, nil) },
		good: func(w http.ResponseWriter, body string) {
			fmt.Fprintf(w, `{"errors":false,"items":[%s]}`, strings.TrimSuffix(strings.Repeat(`{"index":{"status":201}},`, strings.Count(body, "\n")/2), ","))
		},
		lines: func(body string) (lines []string) {
			for i, line := range splitLines(body) {
				var doc struct{ Message string }
				if i%2 == 1 && json.Unmarshal([]byte(line), &doc) == nil {
					lines = append(lines, doc.Message)
				}
			}
			return lines
		},
	}.conformance(t)
}

func TestElasticsearchRequest(t *testing.T) {
	f := newFar(t, (*httptest.Server).Start)
	f.read = map[*http.Request]string{}
	f.answer = said(200, `{"errors":false,"items":[]}`)
	s := elasticTo(t, f, func(s *Elasticsearch) {
		s.URL += "/es/"
		s.Index, s.ID, s.Operation, s.Pipeline, s.APIKey = ex(t, `"logs-" + service`), ex(t, "id"), opCreate, "geo", "k3y"
	})
	open(t, s)
	write(t, s, `{"service":"shop","id":7}`, `{"service":"a\"b","id":"x"}`)
	r := f.last()
	want := `{"create":{"_index":"logs-shop","_id":"7","pipeline":"geo"}}
{"service":"shop","id":7}
{"create":{"_index":"logs-a\"b","_id":"x","pipeline":"geo"}}
{"service":"a\"b","id":"x"}
`
	if f.read[r] != want {
		t.Errorf("got %s\nwant %s", f.read[r], want)
	}
	if r.URL.Path != "/es/_bulk" || r.Header.Get("Content-Type") != "application/x-ndjson" || r.Header.Get("Authorization") != "ApiKey k3y" || r.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %s with %v", r.URL.Path, r.Header)
	}
	got := failures(t, s.Write(t.Context(), batch(t, `{"service":"shop","id":1}`, `{"id":1}`, `{"service":"shop"}`, `{"service":"shop","id":"`+strings.Repeat("x", 513)+`"}`, `{"service":"shop","id":[1]}`)))
	if len(got) != 4 || got[0] != "" || got[1] != pipe.Poison || got[2] != pipe.Poison {
		t.Errorf("got %v, want all but the first failed", got)
	}
}

// The items are those of the documentation of Elasticsearch and OpenSearch.
const (
	itemCreated  = `{"create":{"status":201}}`
	itemConflict = `{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: version conflict, document already exists (current version [1])"}}}`
	itemMapping  = `{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [age] of type [long]","caused_by":{"reason":"For input string: \"abc\""}}}}`
	itemRejected = `{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution of coordinating operation"}}}`
	itemShard    = `{"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"primary shard is not active"}}}`
	itemClosed   = `{"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"index [logs] blocked by: [FORBIDDEN/8/index write (api)]"}}}`
)

func TestElasticsearchItems(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	s := elasticTo(t, side, func(s *Elasticsearch) { s.Operation, s.ID = opCreate, ex(t, "id") })
	open(t, s)
	in := make([]string, 6)
	for i := range in {
		in[i] = fmt.Sprintf(`{"id":%d}`, i)
	}
	side.set(said(200, `{"errors":true,"items":[`+strings.Join([]string{itemCreated, itemConflict, itemMapping, itemRejected, itemShard, itemClosed}, ",")+`]}`))
	err := s.Write(t.Context(), batch(t, in...))
	want := map[int]pipe.Class{2: pipe.Poison, 3: pipe.Throttled, 4: pipe.Retryable, 5: pipe.Permanent}
	if got := failures(t, err); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !strings.Contains(err.Error(), `mapper_parsing_exception: failed to parse field [age] of type [long]: For input string: "abc"`) {
		t.Errorf("got %v, want the reason", err)
	}
	s.Operation = opIndex
	side.set(said(200, `{"errors":true,"items":[`+itemConflict+`]}`))
	if got := failures(t, s.Write(t.Context(), batch(t, in[0]))); got[0] != pipe.Retryable {
		t.Errorf("a conflict of index: got %v, want it tried again", got)
	}
}

func TestElasticsearchAnswers(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	s := elasticTo(t, side, nil)
	open(t, s)
	f := func(code int, body string, class pipe.Class, parts ...string) {
		t.Helper()
		side.set(said(code, body))
		err := s.Write(t.Context(), batch(t, "a", "b"))
		wantError(t, err, class, parts...)
	}
	f(429, `{"error":{"type":"circuit_breaking_exception","reason":"[parent] Data too large"},"status":429}`, pipe.Throttled, "429", "Data too large")
	f(401, `{"error":{"type":"security_exception"},"status":401}`, pipe.Permanent, "401")
	f(413, "", pipe.Permanent, "413", "lower batch.events")
	f(503, "", pipe.Throttled, "503")
	f(502, "", pipe.Retryable, "502")
	f(200, "<html>hello</html>", pipe.Retryable, "not the answer to a _bulk request")
	f(200, `{}`, pipe.Retryable, "not the answer to a _bulk request")
	f(200, `{"errors":true,"items":[{"index":{"status":201}}]}`, pipe.Retryable, "about 1 documents, and 2 were sent")
	side.set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"errors":`)
	})
	wantError(t, s.Write(t.Context(), batch(t, "a")), pipe.Retryable, "breaks off")
}

func TestElasticsearchValidate(t *testing.T) {
	f := func(want string, set func(*Elasticsearch)) {
		t.Helper()
		s := &Elasticsearch{URL: "http://h:9200", Compress: codec.CompressNone}
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("url: user and password do not belong here: use basic_auth", func(s *Elasticsearch) { s.URL = "http://u:p@h" })
	f("url: it must end", func(s *Elasticsearch) { s.URL = "http://h/?a=b" })
	f("api_key", func(s *Elasticsearch) { s.APIKey, s.BearerToken = "k", "t" })
	f("headers.authorization: is set by api_key already", func(s *Elasticsearch) { s.APIKey, s.Headers = "k", map[string]string{"authorization": "x"} })
}
