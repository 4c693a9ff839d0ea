package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/near"
)

// query are the options of a request.
type query map[string]string

// options reads the options that a route knows. One that it does not know is a
// mistake, since a misspelt dry_run must not change anything.
func options(r *http.Request, known ...string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query of the URL cannot be read: escape it")
	}
	q := query{}
	for key, list := range values {
		switch {
		case !slices.Contains(known, key):
			return nil, badRequest("unknown option %q%s", key, hintFor(key, known))
		case len(list) > 1:
			return nil, badRequest("option %s is there twice", key)
		}
		q[key] = list[0]
	}
	return q, nil
}

func hintFor(key string, known []string) string {
	if len(known) == 0 {
		return "; this path takes none"
	}
	if meant := near.Word(key, known); meant != "" {
		return fmt.Sprintf(", did you mean %q?", meant)
	}
	return "; options: " + strings.Join(known, ", ")
}

// flag reads a yes or no; not given means no.
func (q query) flag(key string) (bool, error) {
	switch q[key] {
	case "":
		if _, given := q[key]; !given {
			return false, nil
		}
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, badRequest("%s: 1 or 0 is needed, got %q", key, q[key])
}

// duration reads a duration from least to most.
func (q query) duration(key string, fallback, least, most time.Duration) (time.Duration, error) {
	text, given := q[key]
	if !given {
		return fallback, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return 0, badRequest("%s: a duration from %v to %v is needed, got %q", key, least, most, text)
	}
	return d, nil
}

// rate reads a number above 0 and up to most.
func (q query) rate(key string, fallback, most float64) (float64, error) {
	text, given := q[key]
	if !given {
		return fallback, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0 && f <= most) {
		return 0, badRequest("%s: a number above 0 and up to %v is needed, got %q", key, most, text)
	}
	return f, nil
}
