package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
)

var (
	policies  = []string{Block, DropOldest, DropNewest, DropRandom, Sample}
	thens     = []string{DropNewest, DropOldest, Fail}
	policyFor = map[string]string{
		"timeout": Block, "then": Block,
		"base_rate": Sample, "min_rate": Sample, "threshold": Sample, "key": Sample,
	}
)

// UnmarshalText reads the short form: the name of a policy.
func (p *Policy) UnmarshalText(text []byte) error {
	p.Type = string(text)
	return nil
}

// Expects describes the forms in YAML.
func (p *Policy) Expects() string { return "the name of a policy or a mapping" }

// Validate checks the policy. What is zero stands for its default.
func (p *Policy) Validate() error {
	bad := func(field, format string, args ...any) error {
		return &pipe.FieldError{Field: field, Err: fmt.Errorf(format, args...)}
	}
	switch p.Type {
	case "":
		return &pipe.FieldError{Field: "type", Err: errors.New("is required"), Hint: listOf("policies", policies)}
	case Block:
		return p.validateBlock()
	case Sample:
	default:
		if !slices.Contains(policies, p.Type) {
			return &pipe.FieldError{Field: "type", Err: fmt.Errorf("unknown policy %s", quoted(p.Type)), Hint: didYouMean(p.Type, policies, "policies")}
		}
		return nil
	}
	var errs []error
	base := p.BaseRate
	if base <= 0 || base > 1 {
		errs = append(errs, bad("base_rate", "must be above 0 and at most 1, got %v", base))
		base = 1
	}
	switch {
	case p.MinRate < 0:
		errs = append(errs, bad("min_rate", "must be above 0, got %v", p.MinRate))
	case p.MinRate > base:
		errs = append(errs, bad("min_rate", "must be at most base_rate %v, got %v", base, p.MinRate))
	}
	if p.Threshold < 0 || p.Threshold >= 1 {
		errs = append(errs, bad("threshold", "must be at least 0 and below 1, got %v", p.Threshold))
	}
	return errors.Join(errs...)
}

func (p *Policy) validateBlock() error {
	if p.Then == "" {
		return nil
	}
	if !slices.Contains(thens, p.Then) {
		return &pipe.FieldError{Field: "then", Err: fmt.Errorf("unknown value %s", quoted(p.Then)), Hint: didYouMean(p.Then, thens, "valid values")}
	}
	if p.Timeout == 0 {
		return &pipe.FieldError{Field: "then", Err: errors.New("needs a timeout"), Hint: "add timeout: 5s, or remove then"}
	}
	return nil
}

// Waits reports whether a producer may have to wait at the edge at all, and
// whether it may wait for ever.
func (p Policy) Waits() (some, forever bool) {
	return p.Type == Block, p.Type == Block && (p.Timeout == 0 || p.Then == Fail)
}

// Loses says how an edge with these settings can lose an event, as the end of
// "edge a->b …", or "" when it cannot.
func (s EdgeSettings) Loses() string {
	switch {
	case s.Policy.Type == Block && s.Policy.Timeout > 0 && s.Policy.Then != Fail:
		return fmt.Sprintf("is %s after waiting %v", s.Policy.Then, s.Policy.Timeout)
	case s.Policy.Type != Block:
		return "is " + s.Policy.Type
	case s.Buffer.Age > 0:
		return fmt.Sprintf("drops events older than %v", s.Buffer.Age)
	}
	return ""
}

// Equal reports whether two edges behave alike.
func (s EdgeSettings) Equal(o EdgeSettings) bool {
	return s.keySource() == o.keySource() && s.withoutKey() == o.withoutKey()
}

func (s EdgeSettings) keySource() string {
	if s.Policy.Key == nil {
		return ""
	}
	return s.Policy.Key.Source()
}

func (s EdgeSettings) withoutKey() EdgeSettings {
	s.Policy.Key = nil
	return s
}

// checkPolicyOptions reports options that belong to another policy.
func (s *scope) checkPolicyOptions(typ, path string) {
	if !slices.Contains(policies, typ) {
		return
	}
	for _, option := range []string{"timeout", "then", "base_rate", "min_rate", "threshold", "key"} {
		at, set := s.places[child(path, option)]
		if owner := policyFor[option]; set && owner != typ {
			s.fail(at, path, "bad-value", fmt.Sprintf("%s is an option of the policy %s, not of %s", option, owner, typ), "")
		}
	}
}
