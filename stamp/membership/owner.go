package membership

import "hash/fnv"

// Owner reports whether this gateway is the one of its stamp that should do a
// job that one gateway is enough for, such as probing a target or writing the
// stamp's digest. All members that see the same members agree; while they do
// not, or while gossip is not running, several may answer yes, so the job must
// bear being done twice.
func (m *Membership) Owner(key string) bool { return m.Rank(key) == 0 }

// Rank returns how many live members come before this gateway for a job. One
// that has seen nothing done for a grace period times its rank may do it, so
// that a chosen one that died unnoticed delays the job and does not stop it.
func (m *Membership) Rank(key string) int {
	v := m.View()
	return rank(v.Members, v.Self.Name, key)
}

// rank is rendezvous hashing: of two memberships that differ by one member, all
// others keep their order.
func rank(members []Member, self, key string) int {
	own := weight(self, key)
	before := 0
	for _, m := range members {
		w := weight(m.Name, key)
		if m.Name != self && (w > own || w == own && m.Name < self) {
			before++
		}
	}
	return before
}

// weight mixes the sum at the end: names of one stamp differ in their last
// bytes, which FNV alone spreads badly.
func weight(member, key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(member))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
