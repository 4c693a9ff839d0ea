package sources

import (
	"math"
	"net"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// HTTPServerPerClient is the `per_client` field of the http_server source.
type HTTPServerPerClient struct {
	// Rate is how many requests a client may make in the long run, such as 100/s,
	// whatever they are answered. There is no limit by default. More are answered
	// with 429 and the time until the next one is allowed.
	Rate pipe.Rate `yaml:"rate"`

	// Burst is how many requests a client may make at once after a quiet time. 0,
	// the default, means as many as rate allows in a second, at least 1.
	Burst int `yaml:"burst" min:"0" max:"1000000"`

	// MaxConcurrent is how many requests a client may have at once: in the pipeline,
	// with their body arriving, or waiting for their turn. 0, the default, means no
	// limit. Set it below max_concurrent so that one client, be it fast or slow,
	// cannot have all places.
	MaxConcurrent int `yaml:"max_concurrent" min:"0"`

	// MaxConnections is how many connections one address may have open, unless it is
	// one of trusted_proxies; more are closed at once. 0, the default, means no
	// limit. Set it below max_connections so that one client cannot have them all.
	MaxConnections int `yaml:"max_connections" min:"0"`

	// MaxClients is how many clients are remembered at once, 16384 by default. A
	// client is forgotten when it has no request and no connection and its burst is
	// whole again. While there is no room, further clients share one set of limits:
	// raise it when the log says so. A client takes about 200 bytes.
	MaxClients int `yaml:"max_clients" min:"1"`
}

func (c HTTPServerPerClient) validate(bad func(field, format string, args ...any)) {
	switch {
	case c.Rate > 0 && c.Rate < 1./3600:
		bad("per_client.rate", "must be at least 1/h")
	case c.Rate == 0 && c.Burst > 0:
		bad("per_client.burst", "needs rate: it says how soon the burst is whole again")
	}
}

// client is what is known of one client.
type client struct {
	key   string
	open  int       // its requests inside and in line
	conns int       // its connections
	whole time.Time // when its burst is whole again
}

// idle reports whether forgetting the client changes nothing.
func (c *client) idle(now time.Time) bool {
	return c.open == 0 && c.conns == 0 && !c.whole.After(now)
}

// clients bounds what each client may have. It remembers no more than limits say:
// who finds no room is one of the others.
type clients struct {
	limits HTTPServerPerClient
	every  time.Duration // a client may make a request this often; 0: no limit
	ahead  time.Duration // and be early by this much
	full   func()        // called when somebody finds no room

	mu     sync.Mutex // guards what follows
	known  map[string]*client
	others client
}

func (t *clients) init(limits HTTPServerPerClient, full func()) {
	t.limits, t.full, t.known = limits, full, map[string]*client{}
	if limits.Rate > 0 {
		burst := limits.Burst
		if burst == 0 {
			burst = max(1, int(math.Min(float64(limits.Rate), 1e6)))
		}
		t.every = time.Duration(float64(time.Second) / float64(limits.Rate))
		t.ahead = t.every * time.Duration(burst-1)
	}
}

// bounded reports whether there is a limit of requests.
func (t *clients) bounded() bool { return t.every > 0 || t.limits.MaxConcurrent > 0 }

// excess is why a client is refused.
type excess struct {
	wait time.Duration // until its next request is allowed; 0 when one of its own must end
}

// enter counts a request of the client. The caller owes a leave unless it is
// refused.
func (t *clients) enter(key string) (*client, *excess) {
	if !t.bounded() {
		return nil, nil
	}
	now := time.Now()
	t.mu.Lock()
	c, crowded := t.find(key, now)
	no := t.count(c, now)
	t.mu.Unlock()
	if crowded {
		t.full()
	}
	if no != nil {
		return nil, no
	}
	return c, nil
}

func (t *clients) count(c *client, now time.Time) *excess {
	if most := t.limits.MaxConcurrent; most > 0 && c.open >= most {
		return &excess{}
	}
	if t.every > 0 {
		if c.whole.Before(now) {
			c.whole = now
		}
		if wait := c.whole.Sub(now) - t.ahead; wait > 0 {
			return &excess{wait: wait}
		}
		c.whole = c.whole.Add(t.every)
	}
	c.open++
	return nil
}

// leave ends a request that entered.
func (t *clients) leave(c *client) {
	if c == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c.open--
	t.settle(c)
}

// connect counts a connection of the client; false means that it has too many.
// After true the caller owes a disconnect.
func (t *clients) connect(key string) (*client, bool) {
	if t.limits.MaxConnections == 0 {
		return nil, true
	}
	now := time.Now()
	t.mu.Lock()
	c, crowded := t.find(key, now)
	allowed := c.conns < t.limits.MaxConnections
	if allowed {
		c.conns++
	}
	t.mu.Unlock()
	if crowded {
		t.full()
	}
	return c, allowed
}

func (t *clients) disconnect(c *client) {
	if c == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c.conns--
	t.settle(c)
}

// settle forgets c if it is idle.
func (t *clients) settle(c *client) {
	if c.open < 0 || c.conns < 0 {
		panic("BUG: a client of http_server left twice")
	}
	if c != &t.others && c.idle(time.Now()) {
		delete(t.known, c.key)
	}
}

// find returns the client with this key. crowded means that there was no room for
// it: it is one of the others.
func (t *clients) find(key string, now time.Time) (c *client, crowded bool) {
	if c := t.known[key]; c != nil {
		return c, false
	}
	t.tidy(now)
	if len(t.known) >= t.limits.MaxClients {
		return &t.others, true
	}
	c = &client{key: key}
	t.known[key] = c
	return c, false
}

// tidy forgets idle ones among a few clients. It is called for each new client, and
// looks at more than one, so that most idle ones are forgotten before there is no
// room; it takes the same short time however many there are.
func (t *clients) tidy(now time.Time) {
	few := 8
	for key, c := range t.known { // in random order
		if c.idle(now) {
			delete(t.known, key)
		}
		if few--; few == 0 {
			return
		}
	}
}

// load returns how many clients are known, and the requests and connections of all.
func (t *clients) load() (known, open, conns int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	open, conns = t.others.open, t.others.conns
	for _, c := range t.known {
		open += c.open
		conns += c.conns
	}
	return len(t.known), open, conns
}

// boundedListener accepts no more connections than it has places. The others
// wait in the kernel, whose backlog is bounded too. Of one client it accepts no
// more than connect allows: further ones it closes at once.
type boundedListener struct {
	net.Listener
	places     chan struct{}
	over       chan struct{}
	connect    func(net.Addr) (*client, bool)
	disconnect func(*client)
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.over:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.places
			return nil, err
		}
		if who, allowed := l.connect(c.RemoteAddr()); allowed {
			return &boundedConn{Conn: c, left: func() { l.disconnect(who); <-l.places }}, nil
		}
		c.Close() // an answer would have to wait for the request; there is no place for that
	}
}

type boundedConn struct {
	net.Conn
	left func()
	once sync.Once
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.left)
	return err
}
