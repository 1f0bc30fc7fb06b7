package scorecard_test

import (
	"testing"

	"github.com/stampgate/stampgate/loadtest/scorecard"
)

// P1, P4: whatever happens to one or two of three targets, every request gets its
// right answer, no answer is cut in silence, and nothing leaves the boundary.
func TestScorecardShort(t *testing.T) {
	card, err := scorecard.Run(t.Context(), scorecard.Config{Gateway: scorecard.RunGateway, Short: true, Parallel: 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := card.Err(); err != nil {
		t.Error(err)
	}
	for _, r := range card.Rows {
		if r.Outside != 0 {
			t.Errorf("%s, %s: %d calls outside the boundary", r.Fault, r.Mode, r.Outside)
		}
		if r.Requests == 0 {
			t.Errorf("%s, %s, %d faulty: nothing was measured", r.Fault, r.Mode, r.Faulty)
		}
		if r.Mode == scorecard.Plain && r.Right == scorecard.Complete && r.Complete != r.Requests {
			t.Errorf("%s, plain, %d faulty: %d of %d answered", r.Fault, r.Faulty, r.Complete, r.Requests)
		}
	}
	t.Logf("%d rows in %v", len(card.Rows), card.Took)
}
