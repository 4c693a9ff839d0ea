package sources

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/web"
)

// The tests in this file speak HTTP/2 frame by frame, as no honest client does, on
// a fake clock and a network in memory.

// The frames that they use, from RFC 9113.
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoAway = 0, 1, 3, 4, 6, 7

	flagEnd, flagAck, flagEndHeaders = 1, 1, 4
)

// frames is a client that sends the frames it is told to.
type frames struct {
	conn io.WriteCloser
	out  chan []byte
	next uint32 // the next stream

	answers, resets, goAways atomic.Int64
	closed                   chan struct{} // by the server
}

// speakFrames connects from an address. window is how much of each answer's body
// it lets the source send.
func (r *httpRig) speakFrames(addr string, pool *x509.CertPool, window uint32) *frames {
	r.t.Helper()
	raw, err := r.dialFrom(r.t.Context(), addr)
	if err != nil {
		r.t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "source", NextProtos: []string{"h2"}})
	if err := conn.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	f := &frames{conn: conn, out: make(chan []byte, 10000), next: 1, closed: make(chan struct{})}
	r.t.Cleanup(func() { conn.Close(); close(f.out) })
	go func() {
		for b := range f.out {
			conn.Write(b)
		}
	}()
	f.out <- []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // before anything that read answers
	go f.read(conn)
	f.frame(frameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, window))
	synctest.Wait() // the source's settings have come
	return f
}

func (f *frames) frame(kind, flags byte, stream uint32, payload []byte) {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	f.out <- append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func (f *frames) read(conn io.Reader) {
	defer close(f.closed)
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return
		}
		switch ack := head[4]&flagAck != 0; head[3] {
		case frameHeaders:
			f.answers.Add(1)
		case frameReset:
			f.resets.Add(1)
		case frameGoAway:
			f.goAways.Add(1)
		case frameSettings:
			if !ack {
				f.frame(frameSettings, flagAck, 0, nil)
			}
		case framePing:
			if !ack {
				f.frame(framePing, flagAck, 0, payload)
			}
		}
	}
}

// post begins a request and returns its stream.
func (f *frames) post(headers ...string) uint32 {
	var b []byte
	for i, text := range append([]string{":method", "POST", ":scheme", "https", ":path", "/", ":authority", "source"}, headers...) {
		if i%2 == 0 {
			b = append(b, 0) // a new name, as it is
		}
		b = append(append(b, byte(len(text))), text...)
	}
	stream := f.next
	f.next += 2
	f.frame(frameHeaders, flagEndHeaders, stream, b)
	return stream
}

func (f *frames) data(stream uint32, flags byte, body []byte) {
	for part := range slices.Chunk(body, 16<<10) {
		f.frame(frameData, flags, stream, part)
	}
}

func (f *frames) reset(stream uint32) { f.frame(frameReset, 0, stream, []byte{0, 0, 0, 8}) }

// TestHTTPServerUnreadBodiesStayOutside: over HTTP/2 a client may send before
// anybody wants to read, and need not read what it is answered. Neither makes the
// source hold what it has no place for.
func TestHTTPServerUnreadBodiesStayOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key, pool := certificate(t)
		const places, queue, conns = 2, 3, 20
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.TLS, s.MaxWait = &web.ServerTLS{Cert: cert, Key: key}, pipe.Duration(time.Hour)
			s.MaxConcurrent, s.MaxQueue, s.MaxConnections = places, queue, conns
		})
		var peers []*frames
		for range 6 {
			peers = append(peers, r.speakFrames("", pool, 0)) // no answer can leave
		}
		body := bytes.Repeat([]byte("x"), 48<<10)
		before := heap()
		for _, f := range peers {
			for range h2Streams {
				f.data(f.post(), 0, body)
			}
		}
		synctest.Wait()
		if in, waiting, peak := r.src.gate.load(); in != places || waiting != queue || peak != places {
			t.Errorf("%d inside, %d waiting, peak %d, want %d, %d, %d", in, waiting, peak, places, queue, places)
		}
		if n, most := handlers(r.src), places+queue+conns; n != most {
			t.Errorf("%d requests are answered at once, want %d", n, most)
		}
		if grown := heap() - before; grown > 6<<20 {
			t.Errorf("%d bodies of 48 KiB, %d places: memory grew by %d KiB", len(peers)*h2Streams, places+queue, grown>>10)
		}
		if got, want := r.src.Rejected()["503"], int64(len(peers)*h2Streams-places-queue); got != want {
			t.Errorf("%d were counted, want %d", got, want)
		}
		time.Sleep(2 * time.Minute) // read_timeout for each, one after another
		if in, waiting, _ := r.src.gate.load(); in != 0 || waiting != 0 {
			t.Errorf("%d inside, %d waiting, want none: their bodies never came", in, waiting)
		}
	})
}

// TestHTTPServerRapidReset opens streams and gives them up at once.
func TestHTTPServerRapidReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key, pool := certificate(t)
		r := startHTTPInMemory(t, func(s *HTTPServer) {
			s.TLS, s.MaxConcurrent, s.MaxQueue = &web.ServerTLS{Cert: cert, Key: key}, 3, 50
			s.PerClient.MaxConcurrent = 8
		})
		for range 5 {
			f := r.speakFrames("198.51.100.1:1", pool, 1<<16)
			for i := range 1000 {
				stream := f.post()
				if i%3 == 0 {
					f.data(stream, flagEnd, []byte(`{"n":1}`))
				}
				f.reset(stream)
			}
			synctest.Wait()
			if in, waiting, _ := r.src.gate.load(); in+waiting > 8 {
				t.Errorf("%d inside, %d waiting of one client, want at most 8", in, waiting)
			}
		}
		stop := r.run(pipe.Delivered)
		time.Sleep(time.Minute)
		if in, waiting, _ := r.src.gate.load(); in != 0 || waiting != 0 {
			t.Errorf("%d inside, %d waiting, want none", in, waiting)
		}
		f := r.speakFrames("198.51.100.1:1", pool, 1<<16)
		f.data(f.post(), flagEnd, []byte(`{"n":2}`))
		synctest.Wait()
		if f.answers.Load() != 1 || len(r.got) == 0 || r.got[len(r.got)-1] != `{"n":2}` {
			t.Errorf("after the resets: %d answers, last event %q", f.answers.Load(), r.got[max(0, len(r.got)-1):])
		}
		stop()
	})
}

// TestHTTPServerDrainsHTTP2: a drain ends connections with several requests, too,
// once those that the pipeline has are answered.
func TestHTTPServerDrainsHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key, pool := certificate(t)
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.TLS = &web.ServerTLS{Cert: cert, Key: key} })
		f := r.speakFrames("", pool, 1<<16)
		f.data(f.post(), flagEnd, []byte(`{"n":1}`))
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.data(f.post(), 0, []byte(`{"n"`)) // half a body
		synctest.Wait()
		r.src.Drain()
		synctest.Wait()
		if f.answers.Load() != 1 || f.goAways.Load() == 0 {
			t.Errorf("after the drain: %d answers, %d times told to go, want the half one answered, and told", f.answers.Load(), f.goAways.Load())
		}
		time.Sleep(20 * time.Second)
		select {
		case <-f.closed:
			t.Fatal("closed with a request in the pipeline")
		default:
		}
		pipe.Settle(events, pipe.Delivered)
		synctest.Wait()
		if f.answers.Load() != 2 {
			t.Errorf("%d answers, want 2", f.answers.Load())
		}
		began := time.Now()
		<-f.closed
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// TestHTTPServerDrainClosesConnections: the answer says that it is the last one.
func TestHTTPServerDrainClosesConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startHTTPInMemory(t, func(s *HTTPServer) { s.Health = "/load" })
		r.client.Transport = keeper{r.client.Transport, func(h http.Header, last bool) {
			if !last {
				t.Errorf("an answer during a drain does not close: %v", h)
			}
		}}
		travelling := r.postLater(`{}`)
		events, err := r.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.src.Drain()
		r.want(r.post(`{}`), 503, "stopping")
		r.url = "http://source/load"
		req, _ := http.NewRequestWithContext(context.Background(), "GET", r.url, nil)
		r.want(r.send(req), 503, "stopping")
		pipe.Settle(events, pipe.Delivered)
		r.want(<-travelling, 200, "1")
	})
}

// keeper looks at every answer.
type keeper struct {
	http.RoundTripper
	look func(h http.Header, last bool)
}

func (k keeper) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := k.RoundTripper.RoundTrip(req)
	if err == nil {
		k.look(resp.Header, resp.Close)
	}
	return resp, err
}
