package strictyaml

import "strings"

// nearest returns the name that a slip of the keyboard turned into this one.
func nearest(name string, names []string) string {
	best, least := "", 3
	for _, candidate := range names {
		if strings.EqualFold(candidate, name) {
			return candidate
		}
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d < least && d < len(candidate)/2 {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the edit distance (Levenshtein) of two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
