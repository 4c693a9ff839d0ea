package edge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// equalShares fails unless every share is within 5 % of the mean.
func equalShares(t *testing.T, shares []int) {
	t.Helper()
	sum := 0
	for _, n := range shares {
		sum += n
	}
	mean := float64(sum) / float64(len(shares))
	for i, n := range shares {
		if d := float64(n)/mean - 1; d < -0.05 || d > 0.05 {
			t.Errorf("producer %d got %d of %v, which is %+.1f %% off", i, n, shares, 100*d)
		}
	}
}

// TestFairProducers has four producers with batches of 1, 4, 16 and 64 share an
// edge, before a fast consumer and a slow one.
func TestFairProducers(t *testing.T) {
	for _, pause := range []time.Duration{20 * time.Microsecond, 200 * time.Microsecond, 5 * time.Millisecond} {
		for _, take := range []int{1, 16, 128} {
			t.Run(fmt.Sprintf("%v/%d", pause, take), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(context.Background())
					q := New("fair", Settings{Events: 64, Policy: Block}, Options{})
					owner := map[*pipe.Event]int{}
					for p := range 4 {
						batch := some(&ends{}, 1<<(2*p))
						for _, e := range batch {
							owner[e] = p
						}
						go func() {
							for {
								if _, err := q.Send(ctx, batch); err != nil {
									return
								}
							}
						}()
					}
					shares := make([]int, 4)
					dst := make([]*pipe.Event, take)
					for got := 0; got < 20_000; {
						n, _ := q.Recv(ctx, dst)
						for _, e := range dst[:n] {
							shares[owner[e]]++
						}
						got += n
						time.Sleep(pause)
					}
					cancel()
					synctest.Wait()
					t.Log(shares)
					equalShares(t, shares)
				})
			})
		}
	}
}
