package strictjson

// Items goes over the items of one array, as a Walk goes over the members of an
// object. Use it in one place: it must not be copied once begun.
type Items struct{ walk Walk }

// BeginItems starts a walk over data, which must be one array and nothing else,
// and part of what a Walk has passed over before: it is not asked again whether it
// is UTF-8.
func BeginItems(data []byte, limits Limits) Items {
	return Items{Begin(data, limits)}
}

// Next moves to the next item, which has no name. It returns false at the end of
// the array or at the first error: see Err.
func (it *Items) Next(m *Member) bool {
	w := &it.walk
	if w.err != nil || w.state == walkEnd {
		return false
	}
	first := w.state == walkStart
	w.space()
	if first {
		if w.pos >= len(w.data) {
			return w.truncated()
		}
		if w.data[w.pos] != '[' {
			return w.fail("not an array")
		}
		w.pos++
		w.state = walkMembers
		w.space()
	}
	switch {
	case w.pos >= len(w.data):
		return w.truncated()
	case w.data[w.pos] == ']':
		w.pos++
		return w.finish()
	case first:
	case w.data[w.pos] == ',':
		w.pos++
		w.space()
	default:
		return w.fail("want a comma or the end of the array")
	}
	m.Name, m.Start = nil, w.pos
	var ok bool
	if m.Kind, ok = w.value(); !ok {
		return false
	}
	m.End = w.pos
	return true
}

// Err returns what ended the walk early, nil if nothing did.
func (it *Items) Err() error { return it.walk.Err() }
