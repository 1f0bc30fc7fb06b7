package azuresim

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"
)

// usualWords is how many words a string has that says nothing of its length.
const usualWords = 3

// text makes a string in the schema's format, of its pattern or of words.
func (m *maker) text(s schema, path string) (string, error) {
	least, most := s.count("minLength", 0), s.count("maxLength", 1<<20)
	if least > most {
		return "", errNoValue
	}
	var pattern, format string
	_ = json.Unmarshal(s["pattern"], &pattern) // absent, or not a string: none
	_ = json.Unmarshal(s["format"], &format)
	if pattern != "" {
		return m.matching(pattern, least, most)
	}
	if text, ok := m.formatted(format, path); ok {
		if n := utf8.RuneCountInString(text); n < least || n > most {
			return "", errNoValue
		}
		return quote(text), nil
	}
	text := strings.TrimSpace(strings.Join(wordsOf(m.seed+path, 0, usualWords), ""))
	for len(text) < least {
		text += " " + text
	}
	if len(text) > most {
		text = text[:max(most, least)] // of ASCII alone
	}
	return quote(text), nil
}

// formatted makes a string of a format that the service's structured outputs
// know, and of uri.
func (m *maker) formatted(format, path string) (string, bool) {
	n := m.number(path, 1<<20)
	switch format {
	case "date-time":
		return fmt.Sprintf("2026-%02d-%02dT%02d:%02d:00Z", n%12+1, n%28+1, n%24, n%60), true
	case "date":
		return fmt.Sprintf("2026-%02d-%02d", n%12+1, n%28+1), true
	case "time":
		return fmt.Sprintf("%02d:%02d:00Z", n%24, n%60), true
	case "duration":
		return fmt.Sprintf("PT%dM", n%90+1), true
	case "email":
		return fmt.Sprintf("user%d@example.com", n), true
	case "hostname":
		return fmt.Sprintf("host%d.example.com", n), true
	case "ipv4":
		return fmt.Sprintf("192.0.2.%d", n%254+1), true
	case "ipv6":
		return fmt.Sprintf("2001:db8::%x", n%0xffff+1), true
	case "uuid":
		return fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n), true
	case "uri", "url":
		return fmt.Sprintf("https://example.com/%d", n), true
	}
	return "", false
}

// matching makes a string of a pattern, as short as it may be.
func (m *maker) matching(pattern string, least, most int) (string, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("pattern %q is not understood: %w", pattern, errNoValue)
	}
	check, err := regexp.Compile(pattern)
	if err != nil {
		return "", fmt.Errorf("pattern %q is not understood: %w", pattern, errNoValue)
	}
	for more := range 64 { // repeat what may be repeated until it is long enough
		s := speller{more: more, left: maxSpelled}
		s.spell(re)
		text := s.to.String()
		if n := utf8.RuneCountInString(text); n > most || s.left <= 0 {
			break
		} else if n >= least && check.MatchString(text) {
			return quote(text), nil
		}
	}
	return "", errNoValue
}

// A speller writes a string of an expression.
type speller struct {
	to   strings.Builder
	more int // how often an open repetition is repeated beyond its least
	left int // steps that may still be made
}

// maxSpelled bounds the steps: repetitions within each other multiply.
const maxSpelled = 20_000

func (s *speller) spell(re *syntax.Regexp) {
	times := 1
	switch re.Op {
	case syntax.OpLiteral:
		s.to.WriteString(string(re.Rune))
		return
	case syntax.OpCharClass:
		s.to.WriteRune(presentable(re.Rune))
		return
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		s.to.WriteByte('a')
		return
	case syntax.OpAlternate:
		s.spell(re.Sub[0])
		return
	case syntax.OpStar:
		times = s.more
	case syntax.OpQuest:
		times = min(s.more, 1)
	case syntax.OpPlus:
		times = 1 + s.more
	case syntax.OpRepeat:
		times = re.Min + s.more
		if re.Max >= 0 {
			times = min(times, re.Max)
		}
	default: // a sequence, a group, or what matches no character
	}
	for range times {
		for _, sub := range re.Sub {
			if s.left--; s.left <= 0 {
				return
			}
			s.spell(sub)
		}
	}
}

// presentable is a letter or a digit of a class if it has one, else its first.
func presentable(ranges []rune) rune {
	for _, want := range "a0A" {
		for n := 0; n+1 < len(ranges); n += 2 {
			if ranges[n] <= want && want <= ranges[n+1] {
				return want
			}
		}
	}
	if len(ranges) == 0 {
		return 'a'
	}
	return ranges[0]
}

// usualSpan is how far a number may be from its least: 0 to 99 without bounds.
const usualSpan = 100

// numeric makes a number within the schema's bounds, a whole one if it can.
func (m *maker) numeric(s schema, whole bool, path string) (string, error) {
	low, high := s.bound("minimum", "exclusiveMinimum", 1), s.bound("maximum", "exclusiveMaximum", -1)
	step := s.rational("multipleOf")
	switch {
	case step == nil || step.Sign() <= 0:
		step = big.NewRat(1, 1)
	case whole: // the whole multiples of p/q, in lowest terms, are those of p
		step = new(big.Rat).SetInt(step.Num())
	}
	from := new(big.Rat)
	switch {
	case low.at != nil:
		from = low.at
	case high.at != nil && high.at.Cmp(big.NewRat(usualSpan, 1)) < 0:
		from = new(big.Rat).Sub(high.at, new(big.Rat).Mul(step, big.NewRat(usualSpan, 1)))
	}
	first := ceiling(new(big.Rat).Quo(from, step))
	for _, more := range []int{m.number(path, usualSpan), 1, 0} {
		k := new(big.Rat).SetInt(new(big.Int).Add(first, big.NewInt(int64(more))))
		if v := k.Mul(k, step); low.admits(v) && high.admits(v) {
			return decimal(v), nil
		}
	}
	if whole || s["multipleOf"] != nil || low.at == nil || high.at == nil {
		return "", errNoValue
	}
	middle := new(big.Rat).Add(low.at, high.at)
	middle.Quo(middle, big.NewRat(2, 1))
	if !low.admits(middle) || !high.admits(middle) {
		return "", errNoValue
	}
	return decimal(middle), nil
}

// A bound is one end of a range; without a number everything is within.
type bound struct {
	at   *big.Rat
	open bool // the number itself is outside
	side int  // 1: what is above is within; -1: what is below
}

func (b bound) admits(v *big.Rat) bool {
	if b.at == nil {
		return true
	}
	c := v.Cmp(b.at) * b.side
	return c > 0 || c == 0 && !b.open
}

// bound reads both forms: of a closed and an open bound the tighter counts, and
// an older schema says by a boolean that its bound is open.
func (s schema) bound(closed, open string, side int) bound {
	b := bound{at: s.rational(closed), open: string(s[open]) == "true", side: side}
	if at := s.rational(open); at != nil && (b.at == nil || at.Cmp(b.at)*side >= 0) {
		b.at, b.open = at, true
	}
	return b
}

// rational reads a number exactly; one beyond what a float holds is none.
func (s schema) rational(word string) *big.Rat {
	var n json.Number
	if json.Unmarshal(s[word], &n) != nil {
		return nil
	}
	if f, err := strconv.ParseFloat(n.String(), 64); err != nil || f != 0 && (f < 1e-30 && f > -1e-30) {
		return nil
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return nil
	}
	return r
}

func ceiling(r *big.Rat) *big.Int {
	q, rest := new(big.Int).DivMod(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

// decimal writes a number without an exponent. All that occur have an end: they
// are sums, halves and multiples of decimal numbers.
func decimal(r *big.Rat) string {
	digits, _ := r.FloatPrec()
	return r.FloatString(digits)
}
