package azuresim

import (
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
)

// FilterPrompt in a prompt makes the content filter refuse it; FilterAnswer
// makes it stop the answer half-way.
const (
	FilterPrompt = "SIM:FILTER-PROMPT"
	FilterAnswer = "SIM:FILTER-ANSWER"
)

// words is what answers are made of; each counts as one token.
const words = "the gate stands open while rivers carry quiet light past seven mills and " +
	"every stone remembers rain before it falls on fields of barley under slow clouds"

// wordsOf makes the answer's text for a prompt: the same for the same prompt.
func wordsOf(prompt string, choice, n int) []string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(prompt))
	all := strings.Fields(words)
	at := int((h.Sum64() + uint64(choice)) % uint64(len(all)))
	out := make([]string, n)
	for k := range out {
		out[k] = all[(at+k)%len(all)]
		if k > 0 {
			out[k] = " " + out[k]
		}
	}
	return out
}

// vectorOf makes an embedding of unit length: the same for the same text.
func vectorOf(text string, dimensions int) []float32 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	seed := h.Sum64()
	rng := rand.New(rand.NewPCG(seed, seed))
	v := make([]float32, dimensions)
	var sum float64
	for n := range v {
		f := rng.NormFloat64()
		v[n] = float32(f)
		sum += f * f
	}
	return scale(v, sum)
}

const (
	cacheBlock    = 128  // tokens: the prompt cache counts in steps of these
	cacheMinimum  = 1024 // tokens: shorter prompts are never cached
	cacheCapacity = 4096 // prefixes remembered per deployment; all are dropped when full
)

// A promptCache knows which beginnings of prompts a deployment has seen. It
// keeps hashes, never text.
type promptCache struct {
	mu   sync.Mutex // guards seen
	seen map[uint64]bool
}

// hit returns how many tokens of the prompt's beginning were seen before, and
// remembers the prompt.
func (c *promptCache) hit(prompt string) int {
	if len(prompt) < cacheMinimum*4 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) > cacheCapacity {
		c.seen = map[uint64]bool{}
	}
	h := fnv.New64a()
	cached := 0
	for n := cacheBlock; n*4 <= len(prompt); n += cacheBlock {
		_, _ = h.Write([]byte(prompt[(n-cacheBlock)*4 : n*4]))
		if n < cacheMinimum {
			continue
		}
		if c.seen[h.Sum64()] {
			cached = n
		}
		c.seen[h.Sum64()] = true
	}
	return cached
}
