package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// push is one message of a stream that the admin endpoint sends.
type push struct {
	event string
	data  []byte
}

// stream calls handle with every message of a stream, until the stream ends, ctx
// does, or handle returns an error.
func (k *client) stream(ctx context.Context, c call, handle func(push) error) error {
	c.accept = "text/event-stream"
	resp, err := k.send(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := readPushes(resp.Body, handle); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// endError is the end of a stream that was announced: why it ends.
type endError struct{ Reason string }

func (e *endError) Error() string { return printable(e.Reason) }

// ended reads the announcement of a stream's end; nil for everything else.
func (p push) ended() error {
	if p.event != "end" {
		return nil
	}
	e := &endError{}
	if json.Unmarshal(p.data, e) != nil || e.Reason == "" {
		e.Reason = "the pipeline ended the connection"
	}
	return e
}

// errEnough ends a stream of which enough was shown.
var errEnough = errors.New("enough")

// endOfStream makes what a command returns of what a stream ended with.
func endOfStream(ctx context.Context, std streams, k *client, err error) error {
	var end *endError
	switch {
	case errors.Is(err, errEnough), err != nil && ctx.Err() != nil:
		return nil
	case errors.As(err, &end):
		return say(std.Err, "%s", end)
	case err == nil:
		return fmt.Errorf("%s closed the connection: has the pipeline ended?", k)
	}
	return failure(std, "text", "", err)
}

// maxPush bounds one line of a stream, in bytes.
const maxPush = 32 << 20

// readPushes reads server-sent events. Comments keep a connection alive and mean
// nothing.
func readPushes(r io.Reader, handle func(push) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxPush)
	var p push
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if p.data != nil || p.event != "" {
				if err := handle(p); err != nil {
					return err
				}
			}
			p = push{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			p.event = strings.Clone(string(value))
		case "data":
			if p.data != nil {
				p.data = append(p.data, '\n')
			}
			p.data = append(p.data, value...)
		}
	}
	return lines.Err()
}
