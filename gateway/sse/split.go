package sse

import "iter"

// Split yields the events of p one by one, each with the blank line at its end. p
// must hold whole events, as Feed says.
func Split(p []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(p) > 0 {
			n := eventEnd(p)
			if !yield(p[:n]) {
				return
			}
			p = p[n:]
		}
	}
}

// eventEnd returns the length of the first event: up to the end of the first empty
// line that follows another line, or of all.
func eventEnd(p []byte) int {
	for at := 0; ; {
		end := lineEnd(p[at:])
		if end < 0 {
			return len(p)
		}
		empty := end == 0 && at > 0
		at += end + 1
		if p[at-1] == '\r' && at < len(p) && p[at] == '\n' {
			at++
		}
		if empty {
			return at
		}
	}
}
