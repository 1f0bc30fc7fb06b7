package membership

import (
	"hash/fnv"
	"slices"
)

// Owner reports whether this gateway is the one of its stamp that should do a
// job that one gateway is enough for. All members that see the same members agree; while they do
// not, or while gossip is not running, several may answer yes, so the job must
// bear being done twice.
//
// It is rendezvous hashing: when a member goes, only its jobs move.
func (m *Membership) Owner(job string) bool {
	v := m.View()
	own := weight(v.Self.Name, job)
	return !slices.ContainsFunc(v.Members, func(m Member) bool {
		w := weight(m.Name, job)
		return m.Name != v.Self.Name && (w > own || w == own && m.Name < v.Self.Name)
	})
}

// weight mixes the sum at the end: names of one stamp differ in their last
// bytes, which FNV alone spreads badly.
func weight(member, job string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(job))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(member))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
