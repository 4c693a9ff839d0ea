package guard

import (
	"testing"

	"github.com/pipectl/pipectl/engine/internal/mutant"
)

// TestMutants proves the tests of this package: see package mutant.
func TestMutants(t *testing.T) { mutant.Test(t, mutants) }

var mutants = []mutant.Mutant{
	{Name: "permanent errors are retried", File: "guard.go", Tests: "TestClassesThatAreNotRetried",
		Old: "if class != pipe.Retryable && class != pipe.Throttled {", New: "if class == pipe.Fatal {"},
	{Name: "fatal errors are retried", File: "guard.go", Tests: "TestClassesThatAreNotRetried",
		Old: "if class != pipe.Retryable && class != pipe.Throttled {", New: "if class == pipe.Permanent || class == pipe.Poison {"},
	{Name: "throttled errors are not retried", File: "guard.go", Tests: "TestRetryAfter",
		Old: "class != pipe.Retryable && class != pipe.Throttled", New: "class != pipe.Retryable"},
	{Name: "attempts have no limit", File: "guard.go", Tests: "TestLimits",
		Old: "s.retry.MaxAttempts > 0 && attempts", New: "s.retry.MaxAttempts > 0 && attempts > 100 && attempts"},
	{Name: "one attempt more than allowed", File: "guard.go", Tests: "TestLimits",
		Old: "attempts >= s.retry.MaxAttempts", New: "attempts > s.retry.MaxAttempts"},
	{Name: "the last wait passes the time limit", File: "guard.go", Tests: "TestLimits",
		Old: "elapsed+wait > s.retry.MaxElapsed", New: "elapsed > s.retry.MaxElapsed"},
	{Name: "waits are not doubled", File: "guard.go", Tests: "TestRetriesUntilItWorks",
		Old: "bound = min(bound, s.retry.Initial<<shift)", New: "bound = min(bound, s.retry.Initial)"},
	{Name: "waits are not capped", File: "guard.go", Tests: "TestRetriesUntilItWorks",
		Old: "bound = min(bound, s.retry.Initial<<shift)", New: "bound = s.retry.Initial << shift"},
	{Name: "doubling overflows", File: "guard.go", Tests: "TestManyRetries",
		Old: "shift < 32 && s.retry.Initial<<shift > 0", New: "true"},
	{Name: "jitter is a tenth", File: "guard.go", Tests: "TestJitterIsFull",
		Old: "float64(bound) * s.retry.Jitter)", New: "float64(bound) * s.retry.Jitter / 10)"},
	{Name: "Retry-After has no cap", File: "guard.go", Tests: "TestRetryAfter",
		Old: "wait = min(max(wait, e.RetryAfter), s.retry.Max)", New: "wait = max(wait, e.RetryAfter)"},
	{Name: "Retry-After is ignored", File: "guard.go", Tests: "TestRetryAfter",
		Old: "wait = min(max(wait, e.RetryAfter), s.retry.Max)", New: ""},
	{Name: "Retry-After shortens the wait", File: "guard.go", Tests: "TestRetryAfter",
		Old: "max(wait, e.RetryAfter)", New: "e.RetryAfter"},
	{Name: "a partial failure names the place in the retry", File: "guard.go", Tests: "TestPartial",
		Old: "i = index[it.Index]", New: "i = it.Index"},
	{Name: "a partial failure is written again whole", File: "guard.go", Tests: "TestPartial",
		Old: "in, index, err = s.sift(in, index, part, &lost, attempts)", New: "_, _, err = s.sift(in, index, part, &lost, attempts)"},
	{Name: "what is lost is forgotten", File: "guard.go", Tests: "TestPartial",
		Old: "if len(lost.Items) > 0 {\n\t\treturn attempts, &lost\n\t}\n", New: ""},
	{Name: "the rest of a partial failure is forgotten", File: "guard.go", Tests: "TestPartialGivesUp",
		Old: "lost.Items = append(lost.Items, pipe.ItemError{Index: i, Err: err})\n\t}\n\treturn lost", New: "_ = i\n\t}\n\treturn lost"},
	{Name: "a stop after a partial failure fails the batch", File: "guard.go", Tests: "TestPartialGivesUp",
		Old: "if index == nil {\n\t\treturn err", New: "if true {\n\t\treturn err"},
	{Name: "the timeout is for all attempts", File: "guard.go", Tests: "TestTimeoutIsPerAttempt",
		Old: "err = s.attempt(ctx, in)", New: "if attempts == 1 && s.timeout > 0 {\n\t\t\tvar cancel context.CancelFunc\n\t\t\tctx, cancel = context.WithTimeout(ctx, s.timeout)\n\t\t\tdefer cancel()\n\t\t}\n\t\terr = s.attempt(ctx, in)"},
	{Name: "there is no timeout", File: "guard.go", Tests: "TestTimeoutIsPerAttempt",
		Old: "limited, cancel := context.WithTimeout(ctx, s.timeout)", New: "limited, cancel := context.WithTimeout(ctx, 1000*s.timeout)"},
	{Name: "a timeout keeps the sink's class", File: "guard.go", Tests: "TestTimeoutIsRetryable",
		Old: "pipe.Classed(pipe.Retryable, fmt.Errorf(", New: "(fmt.Errorf("},
	{Name: "a stop does not end the wait", File: "guard.go", Tests: "TestStopInterruptsTheWait",
		Old: "case <-ctx.Done():\n\t\treturn ctx.Err()", New: "case <-make(chan int):\n\t\treturn ctx.Err()"},
	{Name: "a stop is an error of the sink", File: "guard.go", Tests: "TestStopWins",
		Old: "if ctx.Err() != nil {\n\t\t\treturn", New: "if false {\n\t\t\treturn"},
	{Name: "retries are not counted", File: "guard.go", Tests: "TestRetriesUntilItWorks",
		Old: "s.record.retries.Add(1)", New: ""},
	{Name: "a sink that works again still fails", File: "guard.go", Tests: "TestRetriesUntilItWorks",
		Old: "if s.record.failing.CompareAndSwap(true, false) {", New: "if s.record.failing.Load() {"},
	{Name: "a sink that fails does not say so", File: "guard.go", Tests: "TestFailing",
		Old: "if s.record.failing.CompareAndSwap(false, true) {", New: "if !s.record.failing.Load() {"},
	{Name: "the number of attempts is not told", File: "guard.go", Tests: "TestLimits",
		Old: "\tif attempts > 1 {\n", New: "\tif attempts > 100 {\n"},
}
