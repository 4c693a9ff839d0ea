package codec

import (
	"bytes"
	"errors"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// ErrNotOne says that a message does not hold exactly one good event, so that it
// takes Decode to read it.
var ErrNotOne = errors.New("the message is not one event")

// One returns the event that data holds, when it holds exactly one that is good:
// the usual case for a message of a network, and the cheap one. Any other data
// gives ErrNotOne. The body points into data, which must not change afterwards.
func (c *Codec) One(data []byte, a *record.Arena, maxEvent int) (record.Body, error) {
	if len(data) > maxEvent {
		return record.Body{}, ErrNotOne
	}
	switch c.Type {
	case TypeRaw:
		if len(data) == 0 {
			return record.Body{}, ErrNotOne
		}
		return record.FromText(data), nil
	case TypeLines:
		data = c.unbroken(data)
		if bytes.IndexByte(data, '\n') >= 0 {
			return record.Body{}, ErrNotOne
		}
		return record.FromText(data[:len(data):len(data)]), nil
	case TypeJSON, TypeNDJSON:
		if body, err := record.FromJSON(trimSpace(data), a); err == nil {
			return body, nil
		}
	}
	return record.Body{}, ErrNotOne
}

// ValidateMessage checks what decoding each message on its own needs beyond
// ValidateRead: no message may depend on another one.
func (c *Codec) ValidateMessage() error {
	if err := c.ValidateRead(); err != nil {
		return err
	}
	if c.Type == TypeCSV && c.Header {
		return pipe.Fieldf("header", "each message is decoded on its own, and only the first would have the header: set header: false and columns")
	}
	return nil
}
