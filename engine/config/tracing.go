package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Validate checks the URL and the headers. It says nothing of their values, which
// may be secret.
func (t *Tracing) Validate() error {
	var errs []error
	if t.Endpoint != "" {
		if err := collectorURL(t.Endpoint); err != nil {
			errs = append(errs, &pipe.FieldError{Field: "endpoint", Err: err, Hint: "write http://host:4318, or https:// and the collector's address"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		field := "headers." + name
		switch value := t.Headers[name]; {
		case name == "" || strings.ContainsAny(name, " \t\r\n:"):
			errs = append(errs, pipe.Fieldf(field, "%q is not the name of a header", name))
		case strings.ContainsAny(value, "\r\n\x00"):
			errs = append(errs, pipe.Fieldf(field, "the value has a line break"))
		case slices.ContainsFunc([]string{"Content-Type", "Content-Length", "Content-Encoding", "Host"}, func(h string) bool { return strings.EqualFold(name, h) }):
			errs = append(errs, pipe.Fieldf(field, "is set by the exporter"))
		}
	}
	return errors.Join(errs...)
}

func collectorURL(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return errors.New("this is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the scheme must be http or https, got %q", u.Scheme)
	case u.Hostname() == "":
		return errors.New("the host is missing")
	case u.User != nil:
		return errors.New("user and password do not belong here: use headers")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("? and # are never sent: remove them and what follows")
	}
	return nil
}
