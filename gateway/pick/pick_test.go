package pick

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(7, 11)) }

func tierOf(weights []float64, class func(int) Class, load func(int) Load) *Tier {
	if class == nil {
		class = func(int) Class { return Best }
	}
	if load == nil {
		load = func(int) Load { return Load{} }
	}
	return &Tier{Weights: NewWeights(weights), Class: class, Load: load, Worst: 4}
}

func TestTheLessLoadedOfTwoIsTaken(t *testing.T) {
	for _, c := range []struct {
		name    string
		weights []float64
		loads   []Load
		want    int
	}{
		{"one candidate is taken whatever its load", []float64{1}, []Load{{InFlight: 99}}, 0},
		// Two candidates are always both drawn, so the choice is certain.
		{"less in flight", []float64{1, 1}, []Load{{InFlight: 7}, {InFlight: 3}}, 1},
		{"less in flight per weight", []float64{10, 1}, []Load{{InFlight: 7}, {InFlight: 3}}, 0},
		{"in flight counts more than speed", []float64{1, 1}, []Load{{7, time.Second}, {3, 3 * time.Second}}, 1},
		{"but not more than much speed", []float64{1, 1}, []Load{{7, time.Second}, {3, 4 * time.Second}}, 0},
		{"the faster one at equal load", []float64{1, 1}, []Load{{3, 3 * time.Second}, {3, time.Second}}, 1},
		{"equal load per weight is equal", []float64{3, 1}, []Load{{9, 3 * time.Second}, {3, time.Second}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := newRand()
			for range 100 {
				if got := Choose(rng, tierOf(c.weights, nil, func(i int) Load { return c.loads[i] })); got != c.want {
					t.Fatalf("chose %d, want %d", got, c.want)
				}
			}
		})
	}
}

// A model of a tier: each target answers after its own time, or refuses at once;
// so many requests a second come in, one after the other.
type model struct {
	weights []float64
	answers []time.Duration
	refuses map[int]bool // answers in no time, and nobody learns a latency from it
	away    map[int]func(call int) bool
}

func (m model) run(calls int, every time.Duration) []int {
	counts, ends := make([]int, len(m.weights)), make([][]time.Duration, len(m.weights))
	quiet, answered := make([]time.Duration, len(m.weights)), make([]bool, len(m.weights))
	now, call := time.Duration(0), 0
	tier := tierOf(m.weights, func(i int) Class {
		if away := m.away[i]; away != nil && away(call) {
			return Never
		}
		return Best
	}, func(i int) Load {
		l := Load{InFlight: len(ends[i])}
		if answered[i] {
			l.FirstByte = m.answers[i]
		}
		if l.InFlight > 0 {
			l.FirstByte = max(l.FirstByte, now-quiet[i])
		}
		return l
	})
	tier.Turns = NewTurns(len(m.weights))
	rng := newRand()
	for ; call < calls; call++ {
		now += every
		for i := range ends {
			ends[i] = slices.DeleteFunc(ends[i], func(end time.Duration) bool {
				if end <= now {
					quiet[i], answered[i] = end, true
				}
				return end <= now
			})
		}
		i := Choose(rng, tier)
		tier.Turns.Take(i)
		counts[i]++
		if !m.refuses[i] {
			if len(ends[i]) == 0 {
				quiet[i] = now
			}
			ends[i] = append(ends[i], now+m.answers[i])
		}
	}
	return counts
}

// Weights rule the split whatever the latencies, within 2 percentage points over a
// thousand calls, while no target is more than three times slower than the best.
func TestWeightsRuleTheSplitWhereLatenciesDiffer(t *testing.T) {
	many := model{}
	for i := range 30 {
		many.weights = append(many.weights, 1)
		many.answers = append(many.answers, time.Duration(20+i)*time.Millisecond)
	}
	many.weights[0], many.answers[0] = 30, 60*time.Millisecond
	for name, m := range map[string]model{
		"8:1:1, the heavy one three times slower": {weights: []float64{8, 1, 1}, answers: []time.Duration{60e6, 20e6, 20e6}},
		"8:1:1, a light one three times slower":   {weights: []float64{8, 1, 1}, answers: []time.Duration{20e6, 60e6, 20e6}},
		"equal, one three times slower":           {weights: []float64{1, 1, 1}, answers: []time.Duration{20e6, 20e6, 60e6}},
		"answers of a minute and of three":        {weights: []float64{5, 3, 2}, answers: []time.Duration{180e9, 60e9, 120e9}},
		"one heavy among thirty":                  many,
		// A fast refusal must never attract load.
		"one refuses at once":                {weights: []float64{1, 1, 1}, answers: []time.Duration{0, 2e9, 2e9}, refuses: map[int]bool{0: true}},
		"a light one refuses at once":        {weights: []float64{8, 1, 1}, answers: []time.Duration{2e9, 0, 2e9}, refuses: map[int]bool{1: true}},
		"two refuse, the other is unhurried": {weights: []float64{1, 1, 8}, answers: []time.Duration{0, 0, 60e9}, refuses: map[int]bool{0: true, 1: true}},
	} {
		t.Run(name, func(t *testing.T) {
			sum := 0.0
			for _, w := range m.weights {
				sum += w
			}
			for _, every := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
				counts := m.run(1000, every)
				for i, w := range m.weights {
					if want := 1000 * w / sum; math.Abs(float64(counts[i])-want) > 20 {
						t.Errorf("every %v: target %d was chosen %d times, want %.0f ± 20: %v", every, i, counts[i], want, counts)
					}
				}
			}
		})
	}
}

// Beyond that the weights rest: a target that is much slower, or that has gone
// silent so that requests pile up, is spared.
func TestMuchSlowerTargetsAreSpared(t *testing.T) {
	for name, m := range map[string]model{
		"four times slower": {weights: []float64{1, 1, 1}, answers: []time.Duration{4e9, 1e9, 1e9}},
		"silent":            {weights: []float64{1, 1, 1}, answers: []time.Duration{3600e9, 1e9, 1e9}},
	} {
		if counts := m.run(1000, 100*time.Millisecond); counts[0] > 60 {
			t.Errorf("%s: chosen %d times of 1000", name, counts[0])
		}
	}
}

// A target that was away owes nothing: it gets its share, not what it missed.
func TestTargetThatComesBackIsNotFlooded(t *testing.T) {
	m := model{weights: []float64{8, 1, 1}, answers: []time.Duration{20e6, 20e6, 20e6}}
	m.away = map[int]func(int) bool{1: func(call int) bool { return call < 5000 }}
	before := m.run(5000, time.Millisecond)
	after := m.run(5100, time.Millisecond)
	got := after[1] - before[1]
	t.Logf("back after 5,000 calls, a target with a tenth of the weight gets %d of the next 100", got)
	if got > 10+3*slack {
		t.Errorf("%d of the next 100 calls, want at most %d", got, 10+3*slack)
	}
	if want := 5000 * 8 / 9; math.Abs(float64(before[0]-want)) > 40 {
		t.Errorf("while one is away the others do not keep their weights: %v", before)
	}
}

func TestNothingFitIsNothing(t *testing.T) {
	for _, n := range []int{0, 1, 8, 9, 1000} {
		if got := Choose(newRand(), tierOf(make([]float64, n), func(int) Class { return Never }, nil)); got != -1 {
			t.Errorf("%d targets: chose %d", n, got)
		}
	}
}

// With equal loads a target's share of the choices is its share of the weights,
// exactly: chi-square at p = 0.001, for draws from few, from many, and from many
// of which most do not fit.
func TestWeightsAreHonouredExactly(t *testing.T) {
	few := []float64{1, 2, 3, 10, 0.5}
	many := make([]float64, 40)
	for i := range many {
		many[i] = float64(1 + i%7)
	}
	for _, c := range []struct {
		name    string
		weights []float64
		fit     func(int) bool
	}{
		{"few", few, func(int) bool { return true }},
		{"few, one out", few, func(i int) bool { return i != 3 }},
		{"many", many, func(int) bool { return true }},
		{"many, most out", many, func(i int) bool { return i%8 == 1 }},
		{"loaded alike", few, func(int) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tier := tierOf(c.weights, func(i int) Class {
				if c.fit(i) {
					return Best
				}
				return Never
			}, nil)
			if c.name == "loaded alike" {
				tier.Load = func(i int) Load { return Load{InFlight: int(2 * c.weights[i])} }
			}
			const draws = 200_000
			counts := make([]int, len(c.weights))
			rng := newRand()
			for range draws {
				counts[Choose(rng, tier)]++
			}
			sum := 0.0
			for i, w := range c.weights {
				if c.fit(i) {
					sum += w
				}
			}
			chi, free := 0.0, -1
			for i, w := range c.weights {
				if !c.fit(i) {
					if counts[i] != 0 {
						t.Errorf("target %d does not fit and was chosen", i)
					}
					continue
				}
				want := draws * w / sum
				chi += (float64(counts[i]) - want) * (float64(counts[i]) - want) / want
				free++
			}
			// Wilson and Hilferty's approximation of the 0.999 quantile.
			f := float64(free)
			limit := f * math.Pow(1-2/(9*f)+3.09*math.Sqrt(2/(9*f)), 3)
			if chi > limit {
				t.Errorf("chi-square %.1f, want at most %.1f with %d degrees of freedom: %v", chi, limit, free, counts)
			}
		})
	}
}

func TestLowestClassComesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := rapid.SliceOfN(rapid.SampledFrom([]Class{0, 1, 2, 3, 4, 5, Never}), 1, 50).Draw(t, "classes")
		worst := Class(rapid.IntRange(0, 5).Draw(t, "worst"))
		tier := tierOf(make([]float64, len(classes)), func(i int) Class { return classes[i] },
			func(i int) Load { return Load{InFlight: i % 3} })
		tier.Worst = worst
		lowest := Never
		for _, c := range classes {
			lowest = min(lowest, c)
		}
		got := Choose(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), tier)
		switch {
		case lowest > worst && got != -1:
			t.Fatalf("chose class %d beyond %d", classes[got], worst)
		case lowest <= worst && (got < 0 || classes[got] != lowest):
			t.Fatalf("chose %d of %v, want one of class %d", got, classes, lowest)
		}
	})
}

func TestHostileWeightsCountAsOne(t *testing.T) {
	w := NewWeights([]float64{math.NaN(), -1, 0, math.Inf(1), math.MaxFloat64})
	for i, want := range []float64{1, 1, 1, maxWeight, maxWeight} {
		if w.Of(i) != want {
			t.Errorf("weight %d is %v, want %v", i, w.Of(i), want)
		}
	}
}

func TestChooseAllocatesNothing(t *testing.T) {
	tier := tierOf(make([]float64, 1000), nil, nil)
	rng := newRand()
	if n := testing.AllocsPerRun(100, func() { Choose(rng, tier) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{2, 8, 100, 1000} {
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			tier := tierOf(make([]float64, n), nil, func(i int) Load { return Load{InFlight: i} })
			rng := newRand()
			b.ReportAllocs()
			for b.Loop() {
				Choose(rng, tier)
			}
		})
	}
}
