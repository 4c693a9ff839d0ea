package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/control"
)

// changeOptions are the options of every change that can be tried or taken back.
var changeOptions = []string{"dry_run", "confirm_within", "guard", "for"}

// longestTrial bounds confirm_within and for.
const longestTrial = 24 * time.Hour

// conditions reads who wants a change, and on which conditions.
func conditions(r *http.Request) (control.Change, error) {
	q, err := options(r, changeOptions...)
	if err != nil {
		return control.Change{}, err
	}
	c := control.Change{Who: who(r), Guard: q["guard"]}
	var errs [3]error
	c.DryRun, errs[0] = q.flag("dry_run")
	c.ConfirmWithin, errs[1] = q.duration("confirm_within", 0, time.Second, longestTrial)
	c.GuardFor, errs[2] = q.duration("for", 0, time.Second, longestTrial)
	if err := errors.Join(errs[:]...); err != nil {
		return control.Change{}, badRequest("%v", err)
	}
	if c.GuardFor > 0 && c.Guard == "" {
		return control.Change{}, badRequest("for: says how long a guard is watched, but there is no guard")
	}
	return c, nil
}

func (s *Server) patchEdge(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.edgeOf(r); err != nil {
		return err
	}
	c, err := conditions(r)
	if err != nil {
		return err
	}
	body, err := readBody(w, r, maxPatch)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return badRequest(`the body is empty; send the settings to change, such as {"buffer": 100}`)
	}
	return answer(w)(s.o.Control.PatchEdge(r.Context(), r.PathValue("id"), body, c))
}

func (s *Server) patchEdges(w http.ResponseWriter, r *http.Request) error {
	c, err := conditions(r)
	if err != nil {
		return err
	}
	body, err := readBody(w, r, maxPatch)
	if err != nil {
		return err
	}
	settings, err := byEdge(body)
	if err != nil {
		return badRequest(`the body must be JSON such as {"a->b": {"buffer": 100}}: %v`, err)
	}
	return answer(w)(s.o.Control.PatchEdges(r.Context(), settings, c))
}

// byEdge reads a JSON object. A key that comes twice is a mistake: one of the two
// would be forgotten silently.
func byEdge(body []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(strings.NewReader(string(body)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("an object is needed")
	}
	settings := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, errors.New("it is cut off or not JSON")
		}
		id, ok := key.(string)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil || !ok {
			return nil, errors.New("it is cut off or not JSON")
		}
		if _, twice := settings[id]; twice {
			return nil, errors.New("edge " + strconv.Quote(id) + " is there twice")
		}
		settings[id] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("it is cut off or not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	if len(settings) == 0 {
		return nil, errors.New("there is no edge in it")
	}
	return settings, nil
}

func (s *Server) apply(w http.ResponseWriter, r *http.Request) error {
	c, err := conditions(r)
	if err != nil {
		return err
	}
	yaml, err := readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	return answer(w)(s.o.Control.Apply(r.Context(), yaml, c))
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) error {
	if _, err := options(r); err != nil {
		return err
	}
	return answer(w)(s.o.Control.Reload(r.Context(), who(r)))
}

// confirm takes the generation from the query or from the body.
func (s *Server) confirm(w http.ResponseWriter, r *http.Request) error {
	q, err := options(r, "generation")
	if err != nil {
		return err
	}
	body, err := readBody(w, r, maxPatch)
	if err != nil {
		return err
	}
	var given struct {
		Generation uint64 `json:"generation"`
	}
	needed := badRequest(`generation: the number of the generation to keep is needed, such as {"generation": 7}`)
	if len(body) > 0 && json.Unmarshal(body, &given) != nil {
		return needed
	}
	if text := q["generation"]; text != "" {
		if given.Generation, err = strconv.ParseUint(text, 10, 64); err != nil {
			return needed
		}
	}
	if given.Generation == 0 {
		return needed
	}
	if err := s.o.Control.Confirm(r.Context(), given.Generation, who(r)); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"result": "confirmed", "generation": given.Generation, "who": who(r)})
	return nil
}

func (s *Server) revert(w http.ResponseWriter, r *http.Request) error {
	if _, err := options(r); err != nil {
		return err
	}
	return answer(w)(s.o.Control.Revert(r.Context(), who(r)))
}

// answer returns a function that writes what a change came to.
func answer(w http.ResponseWriter) func(control.Outcome, error) error {
	return func(o control.Outcome, err error) error {
		if err == nil {
			writeJSON(w, http.StatusOK, o)
		}
		return err
	}
}

// readBody reads a body that is not compressed, up to limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, &problem{http.StatusUnsupportedMediaType, "send the body as it is, not compressed"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return nil, badRequest("the body ended too early or came too slowly")
	}
	return body, err
}
