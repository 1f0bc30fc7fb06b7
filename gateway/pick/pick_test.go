package pick

import (
	"fmt"
	"math"
	"math/rand/v2"
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
		{"in flight counts more than speed", []float64{1, 1}, []Load{{7, time.Millisecond}, {3, time.Minute}}, 1},
		{"the faster one at equal load", []float64{1, 1}, []Load{{3, 5 * time.Second}, {3, time.Second}}, 1},
		{"equal load per weight is equal", []float64{3, 1}, []Load{{9, 5 * time.Second}, {3, time.Second}}, 1},
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
