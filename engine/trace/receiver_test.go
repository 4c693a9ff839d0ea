package trace

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector: it takes spans over OTLP/HTTP and keeps them.
type receiver struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex // guards what follows
	requests []*http.Request
	resource map[string]string
	spans    []*otlp.Span
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	z, err := gzip.NewReader(req.Body)
	if err != nil {
		r.t.Error(err)
		return
	}
	data, err := io.ReadAll(z)
	if err != nil {
		r.t.Error(err)
	}
	var got collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &got); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, req)
	for _, of := range got.ResourceSpans {
		r.resource = values(of.Resource.Attributes)
		for _, in := range of.ScopeSpans {
			r.spans = append(r.spans, in.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// values returns attributes as texts.
func values(list []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_DoubleValue:
			m[kv.Key] = fmt.Sprint(v.DoubleValue)
		default:
			m[kv.Key] = fmt.Sprintf("%T", v)
		}
	}
	return m
}

// named returns the spans of a node, the first that ended first.
func (r *receiver) named(node string) []*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(r.spans), func(s *otlp.Span) bool { return s.Name != node })
	slices.SortStableFunc(list, func(a, b *otlp.Span) int { return int(int64(a.EndTimeUnixNano) - int64(b.EndTimeUnixNano)) })
	return list
}

// only returns the one span of a node.
func (r *receiver) only(node string) *otlp.Span {
	r.t.Helper()
	list := r.named(node)
	if len(list) != 1 {
		r.t.Fatalf("node %s has %d spans, want 1", node, len(list))
	}
	return list[0]
}

// tree prints the spans of a trace, each below its parent: the names, and what
// is behind a colon the attributes asked for.
func (r *receiver) tree(traceID, parent string, attributes ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	var below func(parent, indent string)
	below = func(parent, indent string) {
		var lines []string
		ids := map[string]string{}
		for _, s := range r.spans {
			if hex.EncodeToString(s.TraceId) != traceID || hex.EncodeToString(s.ParentSpanId) != parent {
				continue
			}
			line, have := s.Name, values(s.Attributes)
			for _, a := range attributes {
				if v, ok := have["pipectl."+a]; ok {
					line += " " + a + "=" + v
				}
			}
			if s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR {
				line += " error: " + s.Status.Message
			}
			lines = append(lines, line)
			ids[line] = hex.EncodeToString(s.SpanId)
		}
		slices.Sort(lines)
		for _, line := range lines {
			b.WriteString(indent + line + "\n")
			below(ids[line], indent+"  ")
		}
	}
	below(parent, "")
	return b.String()
}
