package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("redact", func() pipe.Stage { return &Redact{Action: redactMask, Mask: "***"} })
}

// The values of action.
const (
	redactMask   = "mask"
	redactRemove = "remove"
	redactHash   = "hash"
)

// Redact takes what should not be seen out of events: whole fields by name, and
// parts of texts by pattern. It works in this order: fields, then patterns. What
// has nothing to hide passes as it came, byte for byte.
//
// Patterns are looked for in a line of text, and in every text and number of an
// object, however deep; not in the names of its members, and not in metadata. A
// text that is encoded (base64, URL escapes) is not decoded first. Where patterns
// are in doubt they take too much rather than too little:
//
//   - email: name@host.tld; a character beyond ASCII is part of it.
//   - ipv4: four numbers up to 255 with dots between, and be it a version.
//   - credit_card: 13 to 19 digits, in groups or not, that begin as cards do and
//     whose check digit (Luhn) is right, as it is for one in ten other numbers.
//   - jwt: a JSON web token, three parts beginning with eyJ.
//
// Example:
//
//	type: redact
//	fields: [password, user.ssn]
//	patterns: [email, credit_card]
//	regex: {api_key: 'sk_[a-z0-9]{24}'}
type Redact struct {
	// Fields are paths of values that are redacted whole, whatever they are.
	// Missing ones are skipped. Elements of arrays are named one by one: a[0].
	Fields []string `yaml:"fields"`

	// Patterns are built-in patterns to look for.
	Patterns []string `yaml:"patterns" enum:"email,ipv4,credit_card,jwt"`

	// Regex are patterns of your own, a name and a regular expression (RE2) each.
	// All of what it matches is redacted.
	Regex pipe.OrderedMap[Regexp] `yaml:"regex"`

	// Within are the paths in which patterns are looked for, to save time or to
	// spare the rest. By default it is the whole event.
	Within []string `yaml:"within"`

	// Action says what becomes of what is found. mask (the default) puts the mask in
	// its place; remove takes the field, or the part of the text, out; hash puts
	// HMAC-SHA256 in its place, 64 hexadecimal digits that are the same for the same
	// text and salt, so that events can still be joined. Hashes of numbers and other
	// values with few possibilities can be guessed by whoever has the salt.
	Action string `yaml:"action" enum:"mask,remove,hash"`

	// Mask replaces what is found, *** by default.
	Mask string `yaml:"mask"`

	// Salt is the key of the hash, at least 16 bytes. Keep it out of the file:
	// ${file:/run/secrets/salt}. Whoever changes it gets other hashes.
	Salt string `yaml:"salt" secret:"true"`

	fields []*record.Path
	within []*record.Path
	look   []*sought
}

// Validate checks paths, patterns and what the action needs.
func (r *Redact) Validate() error {
	var errs []error
	if len(r.Fields)+len(r.Patterns)+len(r.Regex) == 0 {
		errs = append(errs, errors.New("redact needs at least one of fields, patterns and regex"))
	}
	paths := func(field string, list []string) {
		for i, path := range list {
			if _, err := record.ParsePath(path); err != nil {
				errs = append(errs, &pipe.FieldError{Field: field + "[" + strconv.Itoa(i) + "]", Err: err})
			}
		}
	}
	paths("fields", r.Fields)
	paths("within", r.Within)
	if len(r.Within) > 0 && len(r.Patterns)+len(r.Regex) == 0 {
		errs = append(errs, fieldError("within", "", "says where to look for patterns, but there are none"))
	}
	for i, name := range r.Patterns {
		if builtin[name] == nil {
			errs = append(errs, fieldError("patterns["+strconv.Itoa(i)+"]", "one of email, ipv4, credit_card and jwt; write others under regex", "unknown pattern %q", name))
		}
	}
	for _, p := range r.Regex {
		switch {
		case p.Value.IsZero():
			errs = append(errs, pipe.Fieldf("regex."+p.Key, "the regular expression is missing"))
		case p.Value.re.MatchString(""):
			errs = append(errs, fieldError("regex."+p.Key, "put + in place of *", "matches the empty text, which is everywhere"))
		}
	}
	return errors.Join(append(errs, r.validateAction())...)
}

func (r *Redact) validateAction() error {
	switch r.Action {
	case redactMask, redactRemove:
		if r.Salt != "" {
			return fieldError("salt", "set action: hash, or leave it out", "has no meaning for the action %s", r.Action)
		}
	case redactHash:
		if len(r.Salt) < 16 {
			return fieldError("salt", "make one with: openssl rand -hex 16", "must have at least 16 bytes for the action hash, got %d", len(r.Salt))
		}
	default:
		return fieldError("action", "one of mask, remove and hash", "unknown action %q", r.Action)
	}
	return nil
}

// Open prepares paths and patterns.
func (r *Redact) Open(context.Context, pipe.Env) error {
	var errs []error
	parse := func(list []string) (paths []*record.Path) {
		for _, text := range list {
			p, err := record.ParsePath(text)
			paths, errs = append(paths, p), append(errs, err)
		}
		return paths
	}
	r.fields, r.within = parse(r.Fields), parse(r.Within)
	r.look = nil
	for _, name := range r.Patterns {
		r.look = append(r.look, builtin[name])
	}
	for _, p := range r.Regex {
		r.look = append(r.look, &sought{find: regexFinder(p.Value.re)})
	}
	return errors.Join(errs...)
}

// Process redacts each event.
func (r *Redact) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	w := r.newWork(&out.Arena)
	w.scratch = out.Scratch()
	for _, e := range in {
		body := e.Body
		if err := r.redact(&body, w); err != nil {
			out.Fail(e, poison(err))
			continue
		}
		e.Body = body
		out.Emit(e)
	}
	out.KeepScratch(w.scratch)
	return nil
}

func (r *Redact) redact(b *record.Body, w *redactWork) error {
	for i, p := range r.fields {
		if err := r.field(b, p, w); err != nil {
			return fmt.Errorf("redact: field %s: %w", r.Fields[i], err)
		}
	}
	switch {
	case len(r.look) == 0:
		return nil
	case b.IsText() && (len(r.within) == 0 || slices.ContainsFunc(r.within, isMessage)):
		if line, changed := w.text(b.AppendText(w.scratch[:0]), r.look); changed {
			*b = record.FromText(w.arena.Copy(line))
		}
		return nil
	case b.IsText():
		return nil
	case len(r.within) == 0:
		w.scratch = b.AppendJSON(w.scratch[:0])
		raw, changed := w.json(w.scratch)
		if !changed {
			return nil
		}
		clean, err := record.FromJSON(raw, w.arena)
		if err == nil {
			*b = clean
		}
		return err
	}
	for i, p := range r.within {
		v := b.Get(p)
		if !v.Exists() {
			continue
		}
		w.scratch = v.AppendJSON(w.scratch[:0])
		if raw, changed := w.json(w.scratch); changed {
			if err := b.Set(w.arena, p, record.RawJSON(raw)); err != nil {
				return fmt.Errorf("redact: within %s: %w", r.Within[i], err)
			}
		}
	}
	return nil
}

func isMessage(p *record.Path) bool { return p.IsTop() && p.Root() == "message" }

// field redacts the value at p.
func (r *Redact) field(b *record.Body, p *record.Path, w *redactWork) error {
	v := b.Get(p)
	if !v.Exists() {
		return nil
	}
	if r.Action == redactRemove {
		b.Delete(w.arena, p)
		return nil
	}
	text := w.arena.Copy(w.replacement(v.Bytes(w.unescaped)))
	if b.IsText() { // its one field is all of it
		*b = record.FromText(text)
		return nil
	}
	return b.Set(w.arena, p, record.Text(text))
}
