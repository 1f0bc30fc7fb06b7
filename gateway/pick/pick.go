// Package pick chooses among targets that are equals: power of two choices on
// load per weight, drawn in exact proportion to the weights.
//
// It is pure: the random source is passed in, and what a target is, it does not
// know: indexes go in and come out. It allocates nothing. Package targets is its
// user; the simulations call the same function.
package pick

import (
	"math/rand/v2"
	"sort"
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
	InFlight  int
	FirstByte time.Duration // recent time to the first byte; 0 if unknown
}

// A Tier is what Choose needs to know. The functions are asked about few
// targets, and must give the same answer each time within one choice.
type Tier struct {
	Weights Weights
	Class   func(i int) Class
	Load    func(i int) Load
	Worst   Class // none of a higher class is taken
}

// The numbers of the draw.
const (
	scanUpTo = 4 // so few targets are looked at one by one
	maxDraws = 8 // misses before all are looked at after all
	// slower: how many times slower, at equal load, a target must be to lose to
	// the other. Less is noise, and would bend the weights for nothing.
	slower = 2
)

// Choose returns the index of a target of the lowest class, or -1 if there is
// none up to Worst. Two of that class are drawn by weight, without replacement;
// the one with less in flight per weight wins, at equal load the one that is not
// much slower, else the first drawn: so with equal loads every target is chosen
// in exact proportion to its weight.
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
	// in-flight ÷ weight, cross-multiplied so that no rounding makes equals unequal
	perA, perB := float64(la.InFlight)*t.Weights.each[b], float64(lb.InFlight)*t.Weights.each[a]
	if perA != perB {
		return perB < perA
	}
	return la.FirstByte > 0 && lb.FirstByte > 0 && la.FirstByte > slower*lb.FirstByte
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
