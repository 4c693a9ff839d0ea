package web

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// MaxExcerpt is how many bytes of an answer a message shows. Who asks for no more
// does not mind if the rest of an answer is lost.
const MaxExcerpt = 256

// maxAnswer is how many bytes of an answer are read at least, so that the
// connection can be used again; more closes it.
const maxAnswer = 64 << 10

// readSome reads an answer to its end, so that the connection can be used again,
// and returns its first most bytes.
func readSome(r io.Reader, most int64) (body []byte, whole bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, most))
	if err != nil || int64(len(body)) < most {
		return body, err == nil, err
	}
	rest, err := io.CopyN(io.Discard, r, max(1, maxAnswer-most))
	return body, rest == 0 && err == io.EOF, nil
}

// unanswered classes what kept a request from being answered: all of it may pass.
func (c *Client) unanswered(from string, err error, timeout bool) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	remedy := ""
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case timeout:
		err = errors.New("no answer within request_timeout " + c.RequestTimeout.String())
	case errors.As(err, &authority):
		remedy = ": set tls.ca to the authority that signed the server's certificate"
	case errors.As(err, &host):
		remedy = ": set tls.server_name to a name that is in the server's certificate"
	}
	return pipe.Classed(pipe.Retryable, fmt.Errorf("%s: %w%s", from, err, remedy))
}

// Good reports whether the status is 2xx.
func (a *Answer) Good() bool { return a.Code >= 200 && a.Code < 300 }

// Judge classes an answer by its status; nil is a confirmation. 429 and 503 are
// throttled, with their Retry-After; 408 and other 5xx retryable; all else is
// permanent. remedies say for a status what to do about it, beside what is usual.
func (a *Answer) Judge(remedies map[int]string) error {
	if a.Good() {
		return nil
	}
	e := &pipe.Error{Class: pipe.Permanent}
	switch code := a.Code; {
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		e.Class, e.RetryAfter = pipe.Throttled, RetryAfter(a.Header, time.Now())
	case code == http.StatusRequestTimeout, code >= 500:
		e.Class = pipe.Retryable
	}
	e.Err = a.Errorf("%d %s%s", a.Code, http.StatusText(a.Code), a.remedy(remedies[a.Code]))
	return e
}

// Errorf makes an error of what the answer to a request means. It shows the start
// of the answer.
func (a *Answer) Errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w%s", a.from, fmt.Errorf(format, args...), excerpt(a.Body))
}

func (a *Answer) remedy(known string) string {
	switch code := a.Code; {
	case known != "":
		return ": " + known
	case code >= 300 && code < 400:
		return fmt.Sprintf(": redirects are not followed; if %s is right, put it into url", a.location())
	case code == http.StatusUnauthorized:
		return ": check the credentials"
	case code == http.StatusForbidden:
		return ": the credentials are known but not enough"
	case code == http.StatusNotFound:
		return ": check the path in url"
	}
	return ""
}

// location is where a redirect points, without what may be secret.
func (a *Answer) location() string {
	u, err := a.at.Parse(a.Header.Get("Location"))
	if err != nil || a.Header.Get("Location") == "" {
		return "the new place (which the answer does not name)"
	}
	return Place(u)
}

// excerpt shows the start of an answer on one line.
func excerpt(body []byte) string {
	body = body[:min(len(body), MaxExcerpt)]
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "?")), " ")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text)
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" (the answer: %s)", text)
}

// RetryAfter reads a Retry-After header, in seconds or as a date; 0 when there is
// none that makes sense. It is never negative. How much of it is obeyed is up to
// the caller.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return time.Duration(1<<31) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}
