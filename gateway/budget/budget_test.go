package budget

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

func TestReserveLetsAQuietRouteRetry(t *testing.T) {
	var b Budget
	for i := range 10 {
		if !b.Withdraw(noon).Valid() {
			t.Fatalf("retry %d of the reserve refused", i+1)
		}
	}
	if b.Withdraw(noon).Valid() || b.Withdraw(noon.Add(time.Second-1)).Valid() {
		t.Error("an eleventh retry within a second")
	}
	if !b.Withdraw(noon.Add(time.Second)).Valid() {
		t.Error("the reserve has not refilled by one after a second")
	}
	if b.Withdraw(noon.Add(time.Second)).Valid() {
		t.Error("it has refilled by two")
	}
}

func TestReserveRefillsToTenAndNoMore(t *testing.T) {
	var b Budget
	for range 10 {
		b.Withdraw(noon)
	}
	later := noon.Add(time.Hour)
	n := 0
	for b.Withdraw(later).Valid() {
		n++
	}
	if n != 10 {
		t.Errorf("%d retries after an hour, want 10", n)
	}
}

func TestShareIsATenthOfTenSeconds(t *testing.T) {
	var b Budget
	for range 100 {
		b.First(noon)
	}
	for i := range 20 {
		if !b.Withdraw(noon).Valid() {
			t.Fatalf("retry %d refused: 100 first attempts allow 10, the reserve 10", i+1)
		}
	}
	if b.Withdraw(noon).Valid() {
		t.Error("a retry beyond share and reserve")
	}
	for range 200 {
		b.First(noon.Add(9 * time.Second))
	}
	if got := b.Left(noon.Add(10*time.Second - 1)); got != 19 { // 300/10 − 20 made, and 9 of the reserve refilled
		t.Errorf("left %d, want 19", got)
	}
	if got := b.Left(noon.Add(10 * time.Second)); got != 30 { // 200/10, the first hundred and its retries forgotten
		t.Errorf("left after 10 s %d, want 30", got)
	}
	if got := b.Left(noon.Add(19 * time.Second)); got != 10 {
		t.Errorf("left after 19 s %d, want the reserve of 10", got)
	}
}

func TestKnownBadTargetsGetHalfTheShareAndNoReserve(t *testing.T) {
	var b Budget
	if b.WithdrawKnownBad(noon).Valid() {
		t.Error("a retry from the reserve")
	}
	for range 100 {
		b.First(noon)
	}
	b.Free(noon)
	b.Free(noon)
	n := 0
	for b.WithdrawKnownBad(noon).Valid() {
		n++
	}
	if n != 3 {
		t.Errorf("%d retries for 100 first attempts and 2 free retries, want 3", n)
	}
	if !b.Withdraw(noon).Valid() {
		t.Error("free retries count against those for sound targets")
	}
}

func TestReturnedRetryCanBeUsedAgain(t *testing.T) {
	var b Budget
	var last Token
	for range 10 {
		last = b.Withdraw(noon)
	}
	b.Return(noon, last)
	if !b.Withdraw(noon).Valid() || b.Withdraw(noon).Valid() {
		t.Error("a returned retry is not exactly one retry")
	}
}

// What came from the share does not refill the reserve.
func TestReturnedRetryGoesWhereItCameFrom(t *testing.T) {
	var b Budget
	for range 10 {
		b.Withdraw(noon)
	}
	for range 1000 {
		b.First(noon)
	}
	before := b.Left(noon)
	for range 5 {
		b.Return(noon, b.Withdraw(noon))
	}
	if got := b.Left(noon); got != before {
		t.Errorf("left %d after five withdrawals and returns, before them %d", got, before)
	}
	old := b.Withdraw(noon)
	later := noon.Add(time.Hour)
	before = b.Left(later)
	b.Return(later, old)
	b.Return(later, Token{})
	if got := b.Left(later); got != before {
		t.Errorf("a token of an hour ago changed what is left from %d to %d", before, got)
	}
}

// As long as retries are answered any number may be made, one after the other.
func TestAnsweredRetriesCostNothing(t *testing.T) {
	var b Budget
	for i := range 1000 {
		token := b.Withdraw(noon)
		if !token.Valid() {
			t.Fatalf("refused after %d answered retries", i)
		}
		b.Return(noon, token)
	}
}

// The bound that the package promises, for any traffic.
func TestRetriesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Budget
		now := noon
		firsts, retries := 0, 0
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")))
			for range rapid.IntRange(0, 20).Draw(t, "firsts") {
				b.First(now)
				firsts++
			}
			for range rapid.IntRange(0, 5).Draw(t, "wishes") {
				if b.Withdraw(now).Valid() {
					retries++
				}
			}
			most := float64(firsts)/10 + 10 + math.Floor(now.Sub(noon).Seconds()) + 1
			if float64(retries) > most {
				t.Fatalf("%d retries for %d first attempts in %v, want at most %.0f", retries, firsts, now.Sub(noon), most)
			}
		}
	})
}

func TestBudgetMayBeUsedByManyAtOnce(t *testing.T) {
	var b Budget
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for i := range 200 {
				now := noon.Add(time.Duration(i) * time.Millisecond)
				b.First(now)
				b.Withdraw(now)
				b.Left(now)
			}
		})
	}
	wg.Wait()
	if b.retry > b.first/share+reserve {
		t.Errorf("%d retries for %d first attempts", b.retry, b.first)
	}
}
