package edge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// unequal says which share is more than 5 % off the mean, "" when none is.
func unequal(shares []int) string {
	sum := 0
	for _, n := range shares {
		sum += n
	}
	mean := float64(sum) / float64(len(shares))
	for i, n := range shares {
		if d := float64(n)/mean - 1; d < -0.05 || d > 0.05 {
			return fmt.Sprintf("producer %d got %d of %v, which is %+.1f %% off", i, n, shares, 100*d)
		}
	}
	return ""
}

// TestFairProducers has four producers with batches of 1, 4, 16 and 64 share an
// edge, before a fast consumer and a slow one. Who comes first while nobody waits is
// up to the scheduler of a machine that may be busy, so there are three attempts;
// what is unfair by rule is so in each.
func TestFairProducers(t *testing.T) {
	for _, pause := range []time.Duration{20 * time.Microsecond, 200 * time.Microsecond, 5 * time.Millisecond} {
		for _, take := range []int{1, 16, 128} {
			t.Run(fmt.Sprintf("%v/%d", pause, take), func(t *testing.T) {
				var why string
				for range 3 {
					synctest.Test(t, func(t *testing.T) { why = unequal(sharesOfFour(pause, take)) })
					if why == "" {
						return
					}
					t.Log(why)
				}
				t.Error(why)
			})
		}
	}
}

// sharesOfFour returns how many events of each producer are taken, take at a time,
// with a pause after each.
func sharesOfFour(pause time.Duration, take int) []int {
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
	return shares
}
