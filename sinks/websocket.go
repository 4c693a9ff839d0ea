package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() {
	pipe.RegisterSink("websocket", func() pipe.Sink {
		return &WebSocket{Listen: "127.0.0.1:9211", Path: "/", Codec: codec.NDJSON(), MaxViewers: 100, Buffer: 1000, BufferBytes: 1 << 20}
	})
}

// WebSocket shows events to whoever connects, each as a message of text over a
// WebSocket (RFC 6455). An event that is no UTF-8 comes as a binary message.
//
// It loses events by design: they are confirmed as soon as they are handed to the
// viewers that are there, and nobody has to be. It never holds the pipeline back:
// each viewer has a buffer of its own, which loses its oldest events when the viewer
// is slow. The viewer is told with the message {"pipectl":{"dropped":12}} before the
// events that follow. A viewer to whom nothing can be written for 10s, or who does
// not answer a ping, is cut off; so is one that sends a message.
//
// Example:
//
//	type: websocket
//	listen: 127.0.0.1:9211
//	path: /live
type WebSocket struct {
	// Listen is the address that viewers connect to, as host:port; 127.0.0.1:9211 by
	// default, which only this machine reaches. Port 0 takes a free one, which is logged.
	Listen string `yaml:"listen"`

	// Path is the path of the socket, / by default.
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
	// browser's WebSocket sends no headers, as ?token=TOKEN. Empty asks for none.
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
func (s *WebSocket) Validate() error {
	errs := append(validateSite(s.Listen, s.Path), validateOrigins(s.Origins)...)
	return errors.Join(append(errs, validateMessage(&s.Codec)...)...)
}

// Open listens.
func (s *WebSocket) Open(_ context.Context, env pipe.Env) (err error) {
	s.enc = s.Codec.NewEncoder()
	s.crowd.init(s.MaxViewers, s.Buffer, int(s.BufferBytes))
	s.site, err = openSite(s.Listen, s.TLS, s, http.HandlerFunc(s.serve), env)
	return err
}

func (s *WebSocket) at() *site { return s.site }

// Write hands the events to the viewers that are there.
func (s *WebSocket) Write(ctx context.Context, in []*pipe.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	messages, err := encoded(s.enc, in, bytes.Clone)
	s.crowd.show(messages)
	return err
}

// serve answers a viewer until it goes or the sink closes.
func (s *WebSocket) serve(w http.ResponseWriter, r *http.Request) {
	gate := gate{s.Token, s.Origins}
	if !gate.admits(w, r, s.Path) {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v := s.crowd.enter(cancel)
	if v == nil {
		tooMany(w, s.MaxViewers)
		return
	}
	defer s.crowd.leave(v)
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the gate has looked at the origin
	if err != nil {
		return // it was answered
	}
	defer c.CloseNow()
	s.watch(c.CloseRead(ctx), v, c)
}

// watch sends what there is for v.
func (s *WebSocket) watch(ctx context.Context, v *viewer, c *websocket.Conn) {
	alive := time.NewTicker(viewerAlive)
	defer alive.Stop()
	for over := false; !over; {
		select {
		case <-v.wake:
		case <-alive.C:
			if within(ctx, c.Ping) != nil {
				return
			}
		case <-v.end:
			over = true // after what is left
		case <-ctx.Done():
			return
		}
		messages, dropped := v.take()
		if dropped > 0 && s.send(ctx, c, fmt.Appendf(nil, `{"pipectl":{"dropped":%d}}`, dropped)) != nil {
			return
		}
		for _, m := range messages {
			if s.send(ctx, c, m) != nil {
				return
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, viewerGrace)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.CloseNow() })()
	c.Close(websocket.StatusGoingAway, "the sink has closed")
}

func (s *WebSocket) send(ctx context.Context, c *websocket.Conn, m []byte) error {
	kind := websocket.MessageText
	if !utf8.Valid(m) {
		kind = websocket.MessageBinary
	}
	return within(ctx, func(ctx context.Context) error { return c.Write(ctx, kind, m) })
}

// within calls f with the time that a viewer has.
func within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, viewerWait)
	defer cancel()
	return f(ctx)
}

// Close sends the viewers what is left for them, within a second, and closes the port.
func (s *WebSocket) Close(ctx context.Context) error {
	s.crowd.close(ctx)
	return s.site.leave(ctx, s)
}
