package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"github.com/pipectl/pipectl/engine/web"
)

// errPageTooLarge is final: the same page would be asked for again for ever.
var errPageTooLarge = errors.New("too large")

// next waits until the next request may be made, and makes it. After an error it
// returns nil, and the next call waits longer.
func (s *HTTPClient) next(ctx context.Context) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	if s.asked == 0 {
		s.began = time.Now()
	}
	began := s.far.Enter()
	answer, err := s.ask(ctx)
	s.far.Leave(began)
	if err == nil {
		err = s.take(answer)
	}
	switch {
	case err == nil:
		if s.failures > 0 {
			s.log.Info("the server answers again", "url", s.place, "failures", s.failures)
		}
		s.failures = 0
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errPageTooLarge):
		return err
	}
	s.failed(err)
	return nil
}

// wait waits until due.
func (s *HTTPClient) wait(ctx context.Context) error {
	d := time.Until(s.due)
	if d <= 0 {
		return nil
	}
	clock := s.idle
	if s.failures > 0 {
		clock = s.held
	}
	defer clock.Leave(clock.Enter())
	return s.sleep(ctx, d)
}

// failed decides when to try again.
func (s *HTTPClient) failed(err error) {
	s.failures++
	d := min(s.BackoffMax.D(), s.BackoffMin.D()<<min(s.failures-1, 20))
	if d <= 0 { // it ran over
		d = s.BackoffMax.D()
	}
	d = d/2 + rand.N(d/2+1)
	var e *pipe.Error
	if errors.As(err, &e) {
		d = max(d, min(e.RetryAfter, s.BackoffMax.D()))
	}
	s.due = time.Now().Add(d)
	if s.failures == 1 {
		s.log.Warn("the server does not answer as it should; trying again", "error", err, "after", d.Round(time.Millisecond))
	}
}

// polled ends a poll: the next one begins interval after this one did.
func (s *HTTPClient) polled() {
	s.asked, s.due = 0, s.began.Add(s.Interval.D())
}

// address is the URL of a request with this cursor.
func (s *HTTPClient) address(cursor string) string {
	path, query, has := strings.Cut(s.URL, "?")
	path = strings.ReplaceAll(path, cursorPlace, url.PathEscape(cursor))
	if !has {
		return path
	}
	return path + "?" + strings.ReplaceAll(query, cursorPlace, url.QueryEscape(cursor))
}

// body is the body of a request with this cursor.
func (s *HTTPClient) body(cursor string) string {
	quoted := record.AppendQuoted(nil, []byte(cursor))
	return strings.ReplaceAll(s.Body, cursorPlace, string(quoted[1:len(quoted)-1]))
}

// ask asks for the next page.
func (s *HTTPClient) ask(ctx context.Context) (*web.Answer, error) {
	at := s.now
	if at.URL == "" {
		at.URL = s.address(at.Cursor)
	}
	return s.Client.Ask(ctx, int64(s.MaxBody)+1, func(ctx context.Context) (*http.Request, error) {
		var body io.Reader
		if s.Body != "" {
			body = strings.NewReader(s.body(at.Cursor))
		}
		req, err := http.NewRequestWithContext(ctx, s.Method, at.URL, body)
		if err != nil {
			return nil, errors.New("the cursor does not make a URL")
		}
		h := req.Header
		h.Set("User-Agent", "pipectl")
		h.Set("Accept-Encoding", "gzip")
		if s.Body != "" {
			h.Set("Content-Type", "application/json")
		}
		if at.Of == at.URL && s.Body == "" { // it may not have changed since
			setIf(h, "If-None-Match", at.ETag)
			setIf(h, "If-Modified-Since", at.Modified)
		}
		s.Authorize(req)
		s.SetHeaders(req)
		return req, nil
	})
}

func setIf(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// take makes a page of an answer.
func (s *HTTPClient) take(a *web.Answer) error {
	s.asked++
	if a.Code == http.StatusNotModified {
		s.polled()
		return nil
	}
	if err := a.Judge(nil); err != nil {
		s.asked--
		return err
	}
	body, err := s.unpack(a)
	if err != nil {
		s.asked--
		return err
	}
	data, after, more, err := s.look(a, body)
	if err != nil {
		s.asked--
		return pipe.Classed(pipe.Retryable, a.Errorf("%w", err))
	}
	page := &openPage{at: s.now, after: after, digest: digestOf(data)}
	page.partition = fmt.Sprintf("%s page %d %s", s.place, s.now.Page, page.digest)
	skip := min(s.pages.begin(page), int64(len(data)))
	page.reader = s.Codec.NewReader(bytes.NewReader(data[skip:]), s.maxEvent)
	page.reader.Partition = page.partition
	if err := page.reader.Resume(skip, bytes.NewReader(data)); err != nil {
		return err
	}
	s.page, s.now = page, after
	if !more || s.asked >= s.MaxPages {
		s.polled()
	}
	return nil
}

// unpack decompresses an answer and checks its size.
func (s *HTTPClient) unpack(a *web.Answer) ([]byte, error) {
	body := a.Body
	if strings.EqualFold(a.Header.Get("Content-Encoding"), "gzip") {
		r, err := codec.Decompress(bytes.NewReader(body), codec.CompressGzip, int64(s.MaxBody)+1<<20)
		if err == nil {
			body, err = io.ReadAll(io.LimitReader(r, int64(s.MaxBody)+1))
			r.Close()
		}
		if err != nil && int64(len(body)) <= int64(s.MaxBody) && a.Whole {
			return nil, pipe.Classed(pipe.Retryable, fmt.Errorf("%s %s: the answer cannot be decompressed: %w", s.Method, s.place, err))
		}
	}
	if int64(len(body)) > int64(s.MaxBody) || !a.Whole {
		return nil, fmt.Errorf("%s %s: the answer is %w: it has more than max_body, which is %s: ask for smaller pages, or raise it", s.Method, s.place, errPageTooLarge, s.MaxBody)
	}
	return body, nil
}

// look evaluates the expressions on an answer: where its events are, where the next
// request goes, and whether that is to be made at once.
func (s *HTTPClient) look(a *web.Answer, body []byte) (data []byte, after place, more bool, err error) {
	after = s.now
	after.Page++
	if s.NextURL.IsZero() { // else a first page that is the same says nothing about the last one
		after.Of, after.ETag, after.Modified = s.address(s.now.Cursor), a.Header.Get("ETag"), a.Header.Get("Last-Modified")
	}
	if s.Items.IsZero() && s.Cursor.IsZero() && s.NextURL.IsZero() {
		return body, after, false, nil
	}
	var arena record.Arena
	e := viewOf(a, body, &arena)
	data = body
	if !s.Items.IsZero() {
		items, err := s.Items.Eval(e, &arena)
		switch {
		case err != nil:
			return nil, after, false, fmt.Errorf("items: %w", err)
		case items.Kind() == record.KindNull || !items.Exists():
			data = nil
		case items.Kind() != record.KindArray && items.Kind() != record.KindObject:
			return nil, after, false, fmt.Errorf("items: %s is of the kind %s, and must be an array", s.Items.Source(), items.Kind())
		default:
			data = items.AppendJSON(nil)
		}
	}
	if !s.Cursor.IsZero() {
		more, err = s.moveCursor(e, &arena, &after)
	} else if !s.NextURL.IsZero() {
		more, err = s.moveURL(e, &arena, &after)
	}
	return data, after, more, err
}

// moveCursor takes over the cursor of an answer.
func (s *HTTPClient) moveCursor(e *pipe.Event, arena *record.Arena, after *place) (more bool, err error) {
	v, err := s.Cursor.Eval(e, arena)
	if err != nil {
		return false, fmt.Errorf("cursor: %w", err)
	}
	switch v.Kind() {
	case record.KindNull, record.KindMissing:
		return false, nil
	case record.KindString, record.KindNumber:
	default:
		return false, fmt.Errorf("cursor: %s is of the kind %s, and must be a text or a number", s.Cursor.Source(), v.Kind())
	}
	text := v.String()
	if text == "" || text == s.now.Cursor {
		return false, nil
	}
	after.Cursor = text
	return true, nil
}

// moveURL takes over the URL of the next page.
func (s *HTTPClient) moveURL(e *pipe.Event, arena *record.Arena, after *place) (more bool, err error) {
	v, err := s.NextURL.Eval(e, arena)
	if err != nil {
		return false, fmt.Errorf("next_url: %w", err)
	}
	after.URL = ""
	if v.Kind() == record.KindNull || !v.Exists() || v.EqualString("") {
		return false, nil
	}
	from, err := url.Parse(s.address(""))
	if err != nil {
		return false, err
	}
	if s.now.URL != "" {
		if from, err = url.Parse(s.now.URL); err != nil {
			return false, err
		}
	}
	to, err := from.Parse(v.String())
	if err != nil || v.Kind() != record.KindString {
		return false, fmt.Errorf("next_url: %s does not give a URL", s.NextURL.Source())
	}
	if to.Scheme != from.Scheme || to.Host != from.Host || to.User != nil {
		return false, fmt.Errorf("next_url: %s is not on the host of url, and the credentials are for that", web.Place(to))
	}
	to.Fragment = ""
	after.URL = to.String()
	return true, nil
}

// viewOf is an answer as expressions see it.
func viewOf(a *web.Answer, body []byte, arena *record.Arena) *pipe.Event {
	o := record.NewObject(arena, 4)
	o.Add(arena, "status", record.Int(int64(a.Code), arena))
	if json.Valid(body) {
		o.Add(arena, "body", record.RawJSON(body))
	} else {
		o.Add(arena, "body", record.Text(body))
	}
	headers := map[string]any{}
	for name, values := range a.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	links := map[string]any{}
	for rel, target := range linksOf(a.Header.Values("Link")) {
		links[rel] = target
	}
	for name, object := range map[string]any{"headers": headers, "links": links} {
		if v, err := record.FromAny(arena, object); err == nil {
			o.Add(arena, name, v)
		}
	}
	return &pipe.Event{Body: o}
}

// linksOf reads Link headers (RFC 8288): targets by their relation.
func linksOf(headers []string) map[string]string {
	links := map[string]string{}
	for _, h := range headers {
		for {
			_, rest, ok := strings.Cut(h, "<")
			if !ok {
				break
			}
			target, rest, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			params, behind, _ := strings.Cut(rest, "<")
			for _, p := range strings.FieldsFunc(params, func(r rune) bool { return r == ';' || r == ',' }) {
				if name, value, ok := strings.Cut(strings.TrimSpace(p), "="); ok && strings.EqualFold(name, "rel") {
					for _, rel := range strings.Fields(strings.Trim(value, `"`)) {
						links[strings.ToLower(rel)] = target
					}
				}
			}
			if behind == "" {
				break
			}
			h = "<" + behind
		}
	}
	return links
}
