package store

import (
	"fmt"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/geo"
)

// keys builds the keys of one boundary. Their names are a contract: operators'
// scripts read them.
type keys struct{ prefix string }

func keysOf(b geo.Boundary) keys { return keys{prefix: "/stampgate/" + string(b) + "/"} }

func (k keys) current() string { return k.prefix + "policy/current" }
func (k keys) history() string { return k.prefix + "policy/history/" }
func (k keys) historyOf(serial uint64) string {
	return k.history() + strconv.FormatUint(serial, 10)
}
func (k keys) orders() string         { return k.prefix + "orders/" }
func (k keys) order(id string) string { return k.orders() + id }
func (k keys) presence() string       { return k.prefix + "presence/" }
func (k keys) presenceOf(r geo.RegionID, gateway string) string {
	return k.presence() + string(r) + "/" + gateway
}
func (k keys) digests() string              { return k.prefix + "digest/" }
func (k keys) digest(r geo.RegionID) string { return k.digests() + string(r) }
func (k keys) audit() string                { return k.prefix + "audit/" }
func (k keys) auditOf(at int64, id string) string {
	return k.audit() + strconv.FormatInt(at, 10) + "-" + id
}

// followed is the range of keys that a gateway follows: all orders and the
// current policy lie side by side in the key space, and nothing else does
// (history sorts after current), so that one list and one watch give both at the
// same revision.
func (k keys) followed() (from, to string) { return k.orders(), k.current() + "\x00" }

func (k keys) digestRange() (from, to string) {
	return k.digests(), clientv3.GetPrefixRangeEnd(k.digests())
}

// CheckName refuses, as an *InvalidError, what could turn one key into another, where
// a name may be anybody's: a gateway's, which is often that of its host, an order's, a
// publication's.
func CheckName(what, name string) error {
	if name == "" || len(name) > 200 || strings.Trim(name, ".") == "" {
		return &InvalidError{Text: fmt.Sprintf("%s: want a name of 1 to 200 characters, not %q", what, clip(name, 40))}
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return &InvalidError{Text: fmt.Sprintf("%s %q: letters, digits, '-', '_' and '.' only", what, clip(name, 40))}
		}
	}
	return nil
}

func checkBoundary(b geo.Boundary) error {
	if !b.Valid() {
		return &InvalidError{Text: fmt.Sprintf("boundary %q: want 1 to %d small letters, digits and '-'", clip(string(b), 40), geo.MaxName)}
	}
	return nil
}

func checkRegion(r geo.RegionID) error {
	if !r.Valid() {
		return &InvalidError{Text: fmt.Sprintf("region %q: want 1 to %d small letters, digits, '-', '.' and '_'", clip(string(r), 40), geo.MaxName)}
	}
	return nil
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
