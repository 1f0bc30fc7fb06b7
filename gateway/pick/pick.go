// Package pick chooses among the targets of a tier. The weights are the
// operator's word and rule the split; load and latency decide among equals, and
// only as far as the split stays what the weights say.
//
// Two targets are drawn by weight. Between the two, the one that is behind its
// share wins; if neither is, by more than a few turns, the less loaded one does. So
// a target that answers quickly, be it with refusals, never attracts more than its
// share, and over a thousand choices every target has its share within two
// percentage points. Weights rest only where a target is much slower than another,
// or has gone silent.
//
// It is pure: the random source is passed in, and what a target is, it does not
// know: indexes go in and come out. It allocates nothing. Package targets is its
// user; the simulations call the same function.
package pick

import (
	"math"
	"math/rand/v2"
	"sort"
	"sync/atomic"
	"time"
)

// Weights are the shares of a tier's targets, prepared for drawing. They never
// change after NewWeights.
type Weights struct {
	each []float64
	upTo []float64 // sums of each, ascending
}

// maxWeight keeps sums exact enough; no deployment has so many tokens a minute.
const maxWeight = 1e12

// NewWeights prepares weights. One that is not a positive number counts as 1: a
// target that nobody could draw would be lost without a word.
func NewWeights(each []float64) Weights {
	w := Weights{each: make([]float64, len(each)), upTo: make([]float64, len(each))}
	sum := 0.0
	for i, v := range each {
		if !(v > 0) { // NaN too
			v = 1
		}
		v = min(v, maxWeight)
		sum += v
		w.each[i], w.upTo[i] = v, sum
	}
	return w
}

// Len returns the number of targets.
func (w Weights) Len() int { return len(w.each) }

// Of returns the weight of a target.
func (w Weights) Of(i int) float64 { return w.each[i] }

// A Class says how willingly a target is taken: one of a lower class is always
// preferred.
type Class uint8

// The first and the last class. What lies between is the caller's.
const (
	Best  Class = 0
	Never Class = 255
)

// A Load is what two drawn targets of the same class are compared by.
type Load struct {
	InFlight int
	// FirstByte is the recent time to the first byte of an answer, and at least for
	// how long nothing has answered of what is waited for; 0 if unknown.
	FirstByte time.Duration
}

// A Tier is what Choose needs to know. The functions are asked about few
// targets, and must give the same answer each time within one choice.
type Tier struct {
	Weights Weights
	Turns   *Turns // nil: nobody keeps count
	Class   func(i int) Class
	Load    func(i int) Load
	Worst   Class // none of a higher class is taken
}

// Turns count how often each target of a tier was taken. They may be used by any
// number of goroutines; a count that is off by a few does no harm.
type Turns struct{ taken []atomic.Uint64 }

// NewTurns returns the counts of a tier of so many targets.
func NewTurns(n int) *Turns { return &Turns{taken: make([]atomic.Uint64, n)} }

// Take counts a choice that was carried out.
func (t *Turns) Take(i int) { t.taken[i].Add(1) }

// The numbers of the draw.
const (
	scanUpTo = 4 // so few targets are looked at one by one
	maxDraws = 8 // misses before all are looked at after all
	// slack is how many turns a target may be ahead of its share: 0.8 % of a
	// thousand. Between unequal weights it is that many of the larger one.
	slack = 8
	// An answer is much slower from 3.5 times the other's time on: up to 3 times
	// the weights hold, and averages differ by chance.
	muchSlower = 3.5
	// faster: at equal load, a target this many times slower loses to the other.
	faster = 2
)

// Choose returns the index of a target of the lowest class, or -1 if there is
// none up to Worst.
func Choose(rng *rand.Rand, t *Tier) int {
	a := sample(rng, t, -1)
	class := Best
	if a < 0 {
		if a, class = scan(rng, t, -1, Best, t.Worst); a < 0 {
			return -1
		}
	}
	b := -1
	if class == Best {
		b = sample(rng, t, a)
	}
	if b < 0 {
		b, _ = scan(rng, t, a, class, class)
	}
	if b < 0 || !better(t, b, a) {
		return a
	}
	return b
}

// better reports whether b beats a, the first drawn.
func better(t *Tier, b, a int) bool {
	la, lb := t.Load(a), t.Load(b)
	wa, wb := t.Weights.each[a], t.Weights.each[b]
	switch {
	case slower(la, lb, muchSlower):
		return true
	case slower(lb, la, muchSlower):
		return false
	}
	switch t.Turns.behind(a, b, wa, wb) {
	case a:
		return false
	case b:
		return true
	}
	// in-flight ÷ weight, cross-multiplied so that no rounding makes equals unequal
	perA, perB := float64(la.InFlight)*wb, float64(lb.InFlight)*wa
	if perA != perB {
		return perB < perA
	}
	return slower(la, lb, faster)
}

// slower reports whether x is so many times slower than y.
func slower(x, y Load, times float64) bool {
	return x.FirstByte > 0 && y.FirstByte > 0 && float64(x.FirstByte) > times*float64(y.FirstByte)
}

// behind returns which of two targets is to be served now so that both get their
// share, or -1 where either will do. What counts is turns per weight, of the two
// alone: who is away for a while falls behind, and is forgiven, for it shall not be
// flooded when it comes back.
func (t *Turns) behind(a, b int, wa, wb float64) int {
	if t == nil {
		return -1
	}
	perA, perB := float64(t.taken[a].Load())/wa, float64(t.taken[b].Load())/wb
	late, weight, ahead := a, wa, perB
	if perB < perA {
		late, weight, ahead = b, wb, perA
	}
	lead, bound := math.Abs(perB-perA), slack/max(wa, wb)
	if lead <= bound {
		return -1
	}
	if lead > bound+(slack+1)/min(wa, wb) {
		t.taken[late].Store(uint64(max(0, (ahead-bound)*weight)))
	}
	return late
}

// sample draws one of the best class by weight, other than not. Draws that miss
// are thrown away, which leaves the proportions among the others as they are. It
// gives up after a few, and at once where a scan costs as little.
func sample(rng *rand.Rand, t *Tier, not int) int {
	n := t.Weights.Len()
	if n <= scanUpTo {
		return -1
	}
	for range maxDraws {
		i := min(sort.SearchFloat64s(t.Weights.upTo, rng.Float64()*t.Weights.upTo[n-1]), n-1)
		if i != not && t.Class(i) == Best {
			return i
		}
	}
	return -1
}

// scan draws by weight from the lowest class present within from…to, in one
// pass: each target takes the place of the one before with the probability of
// its weight among those seen.
func scan(rng *rand.Rand, t *Tier, not int, from, to Class) (int, Class) {
	chosen, lowest, sum := -1, to, 0.0
	for i, w := range t.Weights.each {
		if i == not {
			continue
		}
		c := t.Class(i)
		if c < from || c > lowest {
			continue
		}
		if c < lowest {
			chosen, lowest, sum = -1, c, 0
		}
		sum += w
		if chosen < 0 || rng.Float64()*sum < w {
			chosen = i
		}
	}
	return chosen, lowest
}
