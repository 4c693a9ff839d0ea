package matrix

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clients send events to an http_server, each its own ones in order, and repeat
// every request until it is answered with 200.
type clients struct {
	http    http.Client
	url     atomic.Value // string: it changes with every run
	sent    [most]atomic.Int64
	refused atomic.Int64 // answers that were not 200
	acked   func(first, end int)
	all     sync.WaitGroup
}

const (
	clientCount = 3
	requestSize = 5
)

func (c *clients) start(ctx context.Context, t *testing.T) {
	c.http.Transport = &http.Transport{MaxIdleConnsPerHost: clientCount}
	for i := range clientCount {
		c.all.Go(func() {
			for first := i * most / clientCount; first < (i+1)*most/clientCount; first += requestSize {
				for !c.send(ctx, first, first+requestSize) {
					select {
					case <-time.After(2 * time.Millisecond):
					case <-ctx.Done():
						t.Errorf("the request with event %d was never taken", first)
						return
					}
				}
				c.acked(first, first+requestSize)
			}
		})
	}
}

// send makes one attempt and reports whether it was answered with 200.
func (c *clients) send(ctx context.Context, first, end int) bool {
	url, _ := c.url.Load().(string)
	if url == "" {
		return false
	}
	var body strings.Builder
	for n := first; n < end; n++ {
		c.sent[n].Add(1)
		body.WriteString(event(n) + "\n")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body.String()))
	if err != nil {
		return false
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		c.refused.Add(1)
	}
	return resp.StatusCode == http.StatusOK
}
