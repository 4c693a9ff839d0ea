package stages

import (
	"errors"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"github.com/pipectl/pipectl/engine/syslog"
)

var syslogNames = newNames(syslog.Names[:])

// validateSyslog checks the zone, which is for times of RFC 3164.
func (p *Parse) validateSyslog() error {
	var fe *pipe.FieldError
	if _, err := syslog.Zone(p.Zone); errors.As(err, &fe) {
		return &pipe.FieldError{Field: "zone", Err: fe.Err, Hint: fe.Hint}
	}
	return nil
}

// syslogParser takes messages of RFC 3164 and RFC 5424 apart, whichever they are.
func (p *Parse) syslogParser() (parser, error) {
	zone, err := syslog.Zone(p.Zone)
	if err != nil {
		return nil, err
	}
	reader := syslog.Parser{Format: syslog.Auto, Zone: zone, Now: time.Now}
	return func(line []byte, out *fields, _ *record.Arena) error {
		var m syslog.Message
		if err := reader.Parse(line, &m); err != nil {
			return fmt.Errorf("syslog: %w", err)
		}
		m.Each(func(field int, v record.Value) { out.add(&syslogNames[field], v) })
		return nil
	}, nil
}
