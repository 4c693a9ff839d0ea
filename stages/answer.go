package stages

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// errProtocol begins the errors of answers that are none.
var errProtocol = errors.New("the answer is no object, list of objects, null or text")

// decide does with e what a program from outside answered about it: an object is
// the event from now on, null ends it, a list of objects is what becomes of it,
// and a text fails it with this text as the reason. Anything else is an error, and
// nothing is decided. text is copied.
func decide(e *pipe.Event, out *pipe.Out, text []byte) error {
	switch {
	case bytes.Equal(text, []byte("null")):
		out.Filter(e)
		return nil
	case len(text) > 0 && text[0] == '"':
		reason, err := unquoted(text)
		if err != nil {
			return fmt.Errorf("%w: %.80q", errProtocol, text)
		}
		out.Fail(e, poison(fmt.Errorf("refused: %s", reason)))
		return nil
	case len(text) > 0 && text[0] == '[':
		return splitInto(e, out, text)
	}
	body, err := record.FromJSON(out.Arena.Copy(text), &out.Arena)
	if err != nil {
		return fmt.Errorf("%w: %.80q", errProtocol, text)
	}
	e.Body = body
	out.Emit(e)
	return nil
}

// unquoted reads a JSON text.
func unquoted(text []byte) (string, error) {
	var a record.Arena
	body, err := record.FromJSON(append(append([]byte(`{"s":`), text...), '}'), &a)
	if err != nil {
		return "", err
	}
	return body.Field("s").String(), nil
}

// splitInto makes of e the objects of a list.
func splitInto(e *pipe.Event, out *pipe.Out, list []byte) error {
	whole := append(append([]byte(`{"list":`), list...), '}')
	parsed, err := record.FromJSON(out.Arena.Copy(whole), &out.Arena)
	if err != nil {
		return fmt.Errorf("%w: %.80q", errProtocol, list)
	}
	var bodies []record.Body
	parsed.Field("list").Elements(func(v record.Value) bool {
		var body record.Body
		if v.Kind() != record.KindObject {
			err = fmt.Errorf("%w: %.80q", errProtocol, list)
			return false
		}
		body, err = record.FromJSON(out.Arena.Copy(v.AppendJSON(nil)), &out.Arena)
		bodies = append(bodies, body)
		return err == nil
	})
	if err != nil {
		return err
	}
	out.Split(e, bodies)
	return nil
}
