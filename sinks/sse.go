package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("sse", func() pipe.Sink {
		return &SSE{Listen: "127.0.0.1:9210", Path: "/events", Codec: codec.NDJSON(), MaxViewers: 100, Buffer: 1000, BufferBytes: 1 << 20}
	})
}

// SSE shows events to whoever looks, as server-sent events over HTTP: to a browser's
// EventSource, or to curl -N.
//
// It loses events by design: they are confirmed as soon as they are handed to the
// viewers that are there, and nobody has to be. It never holds the pipeline back:
// each viewer has a buffer of its own, which loses its oldest events when the viewer
// is slow. The viewer is told with a message of type dropped, {"dropped": 12},
// before the events that follow. What a viewer missed while it was away does not
// come again. A viewer to whom nothing can be written for 10s is cut off.
//
// Example:
//
//	type: sse
//	listen: 127.0.0.1:9210
//	max_viewers: 20
type SSE struct {
	// Listen is the address that viewers connect to, as host:port; 127.0.0.1:9210 by
	// default, which only this machine reaches. Port 0 takes a free one, which is logged.
	Listen string `yaml:"listen"`

	// Path is the path of the stream, /events by default.
	Path string `yaml:"path"`

	// Codec is the format of an event, ndjson by default. csv has no header here:
	// list the columns.
	Codec codec.Codec `yaml:"codec"`

	// MaxViewers is how many may look at a time, 1 to 1,000; 100 by default. Others are
	// answered with 503.
	MaxViewers int `yaml:"max_viewers" min:"1" max:"1000"`

	// Buffer is how many events wait for one viewer at most, 1 to 100,000; 1,000 by
	// default.
	Buffer int `yaml:"buffer" min:"1" max:"100000"`

	// BufferBytes is how many bytes wait for one viewer at most, 1MiB by default. An
	// event that is larger waits alone. Viewers share the bytes of their events.
	BufferBytes pipe.Size `yaml:"buffer_bytes" min:"1"`

	// Token is what viewers must show, as `Authorization: Bearer TOKEN` or, since a
	// browser's EventSource sends no headers, as ?token=TOKEN. Empty asks for none.
	Token string `yaml:"token" secret:"true"`

	// TLS makes the sink speak HTTPS. Without it, it speaks plain HTTP.
	TLS *ServerTLS `yaml:"tls"`

	// Origins lists the origins of the pages that may read here beside those of this
	// very address: https://dashboard.example, or * for any. Programs that are no
	// browser have none and are not asked.
	Origins []string `yaml:"origins"`

	enc   *codec.Encoder
	site  *site
	crowd crowd
}

// Validate checks the fields.
func (s *SSE) Validate() error {
	errs := append(validateSite(s.Listen, s.Path), validateOrigins(s.Origins)...)
	return errors.Join(append(errs, validateMessage(&s.Codec)...)...)
}

// Open listens.
func (s *SSE) Open(_ context.Context, env pipe.Env) (err error) {
	s.enc = s.Codec.NewEncoder()
	s.crowd.init(s.MaxViewers, s.Buffer, int(s.BufferBytes))
	s.site, err = openSite(s.Listen, s.TLS, s, http.HandlerFunc(s.serve), env)
	return err
}

func (s *SSE) at() *site { return s.site }

// Write hands the events to the viewers that are there.
func (s *SSE) Write(ctx context.Context, in []*pipe.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	messages, err := encoded(s.enc, in, eventMessage)
	s.crowd.show(messages)
	return err
}

// eventMessage is a server-sent event with this text, which may have several lines.
func eventMessage(text []byte) []byte {
	m := make([]byte, 0, len(text)+16)
	for line := range bytes.SplitSeq(bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n")), []byte("\n")) {
		m = append(append(append(m, "data: "...), line...), '\n')
	}
	return append(m, '\n')
}

// serve answers a viewer until it goes or the sink closes.
func (s *SSE) serve(w http.ResponseWriter, r *http.Request) {
	gate := gate{s.Token, s.Origins}
	if !gate.admits(w, r, s.Path) {
		return
	}
	ctrl := http.NewResponseController(w)
	v := s.crowd.enter(func() { ctrl.SetWriteDeadline(time.Now()) })
	if v == nil {
		tooMany(w, s.MaxViewers)
		return
	}
	defer s.crowd.leave(v)
	if err := ctrl.SetReadDeadline(time.Time{}); err != nil { // it has nothing more to say
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies pass events on at once
	send := func(parts ...[]byte) error {
		if err := ctrl.SetWriteDeadline(time.Now().Add(viewerWait)); err != nil {
			return err
		}
		for _, p := range parts {
			if _, err := w.Write(p); err != nil {
				return err
			}
		}
		return ctrl.Flush()
	}
	if send([]byte(": here come events\n\n")) == nil {
		s.watch(r.Context(), v, send)
	}
}

// watch sends what there is for v.
func (s *SSE) watch(ctx context.Context, v *viewer, send func(...[]byte) error) {
	alive := time.NewTicker(viewerAlive)
	defer alive.Stop()
	for over := false; !over; {
		select {
		case <-v.wake:
		case <-alive.C:
			if send([]byte(": still there\n\n")) != nil {
				return
			}
		case <-v.end:
			over = true // after what is left
		case <-ctx.Done():
			return
		}
		messages, dropped := v.take()
		if dropped > 0 {
			messages = append([][]byte{fmt.Appendf(nil, "event: dropped\ndata: {\"dropped\":%d}\n\n", dropped)}, messages...)
		}
		if len(messages) > 0 && send(messages...) != nil {
			return
		}
	}
}

func tooMany(w http.ResponseWriter, most int) {
	w.Header().Set("Retry-After", "10")
	http.Error(w, fmt.Sprintf("%d viewers are here, which is all there may be: close one or raise max_viewers", most), http.StatusServiceUnavailable)
}

// Close sends the viewers what is left for them, within a second, and closes the port.
func (s *SSE) Close(ctx context.Context) error {
	s.crowd.close(ctx)
	return s.site.leave(ctx, s)
}
