package stages

import (
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ua-parser/uap-go/uaparser"

	"github.com/pipectl/pipectl/engine/record"
)

// longestAgent is how much of a user agent is looked at, in bytes. Real ones are
// shorter, and the cost of a look grows with the length.
const longestAgent = 1024

var agentNames = newNames([]string{"name", "version", "os", "os_version", "device", "brand", "model", "bot"})

// agents finds out about user agents and remembers the last ones. The patterns
// are shared: they take 50 ms and 15 MiB, which only a pipeline that uses them pays.
type agents struct {
	parser *uaparser.Parser
	known  *lru.Cache[string, *[8]record.Value]
}

var agentPatterns = sync.OnceValues(func() (*uaparser.Parser, error) {
	return uaparser.New(uaparser.WithCacheSize(1)) // we remember whole results ourselves
})

func (p *Parse) validateUserAgent() error {
	if p.CacheEntries < 1 || p.CacheEntries > 1_000_000 {
		return fieldError("cache_entries", "", "must be 1 to 1000000, got %d", p.CacheEntries)
	}
	return nil
}

func (p *Parse) userAgentParser() (parser, error) {
	patterns, err := agentPatterns()
	if err != nil {
		return nil, err
	}
	known, err := lru.New[string, *[8]record.Value](p.CacheEntries)
	if err != nil {
		return nil, err
	}
	return (&agents{patterns, known}).parse, nil
}

func (g *agents) parse(line []byte, out *fields, _ *record.Arena) error {
	line = line[:min(len(line), longestAgent)]
	found, ok := g.known.Get(view(line))
	if !ok {
		text := string(line)
		found = g.look(text)
		g.known.Add(text, found)
	}
	for i, v := range found {
		if v.Exists() {
			out.add(&agentNames[i], v)
		}
	}
	return nil
}

// look asks the patterns.
func (g *agents) look(text string) *[8]record.Value {
	ua, os, device := g.parser.ParseUserAgent(text), g.parser.ParseOs(text), g.parser.ParseDevice(text)
	bot := device.Family == "Spider"
	if bot {
		device = &uaparser.Device{}
	}
	v := &[8]record.Value{7: record.Bool(bot)}
	for i, s := range []string{
		ua.Family, version(ua.Major, ua.Minor, ua.Patch), os.Family, version(os.Major, os.Minor, os.Patch, os.PatchMinor),
		device.Family, device.Brand, device.Model,
	} {
		if s != "" && s != "Other" {
			v[i] = record.Str(s)
		}
	}
	return v
}

// version joins the parts of a version up to the first that is missing.
func version(parts ...string) string {
	n := 0
	for n < len(parts) && parts[n] != "" {
		n++
	}
	return strings.Join(parts[:n], ".")
}
