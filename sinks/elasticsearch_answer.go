package sinks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// maxItemAnswer is how many bytes the answer about one document may have on
// average; the reasons of failures can be long.
const maxItemAnswer = 4 << 10

// bulkAnswer is the answer to a _bulk request, as far as it is asked for.
type bulkAnswer struct {
	Errors *bool                 `json:"errors"`
	Items  []map[string]bulkItem `json:"items"`
}

type bulkItem struct {
	Status int `json:"status"`
	Error  *struct {
		Type     string `json:"type"`
		Reason   string `json:"reason"`
		CausedBy *struct {
			Reason string `json:"reason"`
		} `json:"caused_by"`
	} `json:"error"`
}

// judge reads the answer about n documents and returns those that failed.
func (s *Elasticsearch) judge(a *web.Answer, n int) (bad []pipe.ItemError, err error) {
	var b bulkAnswer
	if err := json.Unmarshal(a.Body, &b); err != nil || b.Errors == nil {
		return nil, pipe.Classed(pipe.Retryable, a.Errorf("this is not the answer to a _bulk request: check url"))
	}
	if !*b.Errors {
		return nil, nil
	}
	if len(b.Items) != n {
		return nil, pipe.Classed(pipe.Retryable, a.Errorf("the answer is about %d documents, and %d were sent", len(b.Items), n))
	}
	for i, operations := range b.Items {
		for _, it := range operations { // one
			if err := s.judgeItem(it); err != nil {
				bad = append(bad, pipe.ItemError{Index: i, Err: err})
			}
		}
	}
	return bad, nil
}

// judgeItem classes the status of one document; nil is a confirmation.
func (s *Elasticsearch) judgeItem(it bulkItem) error {
	code, class := it.Status, pipe.Poison
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusConflict && s.Operation == opCreate:
		return nil // it is there
	case code == http.StatusTooManyRequests:
		class = pipe.Throttled
	case code == http.StatusRequestTimeout, code == http.StatusConflict, code >= 500, code == 0:
		class = pipe.Retryable
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound:
		class = pipe.Permanent // of the index, not of the document
	}
	why := ""
	if it.Error != nil {
		why = ": " + it.Error.Type + ": " + it.Error.Reason
		if it.Error.CausedBy != nil && it.Error.CausedBy.Reason != "" {
			why += ": " + it.Error.CausedBy.Reason
		}
	}
	if len(why) > maxReason {
		why = why[:maxReason] + "…"
	}
	return pipe.Classed(class, fmt.Errorf("the document was refused: %d %s%s", code, http.StatusText(code), why))
}

// maxReason is how much of a reason is shown, in bytes.
const maxReason = 512

// inOrder sorts failures by the place of their event.
func inOrder(bad []pipe.ItemError) []pipe.ItemError {
	slices.SortFunc(bad, func(a, b pipe.ItemError) int { return cmp.Compare(a.Index, b.Index) })
	return bad
}
