package sources

import (
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/codec"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
	"github.com/pipectl/pipectl/engine/syslog"
)

// metaPeer is the metadata key of the address that a message came from.
const metaPeer = "peer"

// intake makes events of the messages that a network source reads.
type intake struct {
	codec  *codec.Codec   // how a message is decoded; nil when it is one of syslog
	syslog *syslog.Parser // nil when codec is set
	max    int            // the largest event in bytes

	parsed syslog.Message
}

// add appends the events of a message. shared says that b has the peer's address
// for all its events already.
func (k *intake) add(b *pipe.Batch, f codec.Frame, peer string, shared bool) {
	if f.Err != nil {
		k.fail(b, f.Data, peer, f.Err)
		return
	}
	mark := peer
	if shared {
		mark = ""
	}
	switch body, err := k.one(f.Data, &b.Arena); {
	case err == codec.ErrNotOne:
		k.decode(b, f.Data, peer, mark)
	case err != nil:
		k.fail(b, f.Data, peer, err)
	default:
		enter(b, body, mark)
	}
}

// enter appends an event with the address of its peer, if there is one.
func enter(b *pipe.Batch, body record.Body, peer string) {
	if e := b.Add(body, 0); peer != "" {
		e.SetMeta(metaPeer, peer)
	}
}

func (k *intake) one(data []byte, a *record.Arena) (record.Body, error) {
	if k.codec != nil {
		return k.codec.One(data, a, k.max)
	}
	if err := k.syslog.Parse(data, &k.parsed); err != nil {
		return record.Body{}, fmt.Errorf("syslog: %w", err)
	}
	return k.parsed.Body(a), nil
}

// decode appends what a message holds that is not exactly one good event. The
// positions that the codec gives them are of no use: every message begins anew.
func (k *intake) decode(b *pipe.Batch, data []byte, peer, mark string) {
	scratch := scratchBatches.Get().(*pipe.Batch)
	defer scratchBatches.Put(scratch)
	scratch.Reset(nil, "", 0)
	if err := k.codec.Decode(scratch, data, k.max); err != nil {
		k.fail(b, data, peer, err)
		return
	}
	events, failed, _ := scratch.Take(time.Time{})
	for _, e := range events {
		enter(b, e.Body, mark)
	}
	for _, f := range failed {
		k.fail(b, f.Event.Body.AppendText(nil), peer, f.Err)
	}
}

func (k *intake) fail(b *pipe.Batch, data []byte, peer string, err error) {
	if peer != "" {
		err = fmt.Errorf("from %s: %w", peer, err)
	}
	b.Fail(record.FromText(data), 0, pipe.Classed(pipe.Poison, err))
}

// newSyslogIntake reads syslog messages with the given options.
func newSyslogIntake(format syslog.Format, year int, zone string, max int) (*intake, error) {
	z, err := syslog.Zone(zone)
	if err != nil {
		return nil, err
	}
	return &intake{max: max, syslog: &syslog.Parser{Format: format, Year: year, Zone: z, Now: time.Now}}, nil
}

// largest returns the largest message that may enter, and the option that says so.
func largest(option string, size pipe.Size, env pipe.Env) (max int, name string) {
	if env.MaxEventBytes > 0 && env.MaxEventBytes < int(size) {
		return env.MaxEventBytes, "limits.max_event_bytes"
	}
	return int(size), option
}
