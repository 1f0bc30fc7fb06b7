package geo

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Origin returns the canonical origin of an endpoint: scheme://host[:port] in
// small letters, without the scheme's own port and without a final dot. Two
// spellings of one place have one origin. It returns false for what is no
// endpoint at all; whether a fence would admit it is another question.
func Origin(endpoint string) (string, bool) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return "", false
	}
	return placeOf(u).origin(), true
}

// An address is an endpoint in its canonical spelling.
type address struct{ scheme, host, port string }

func placeOf(u *url.URL) address {
	return address{scheme: u.Scheme, host: canonicalHost(u.Hostname()), port: portOf(u)}
}

func (a address) origin() string {
	if a.port != defaultPort(a.scheme) {
		return a.scheme + "://" + net.JoinHostPort(a.host, a.port)
	}
	if strings.Contains(a.host, ":") {
		return a.scheme + "://[" + a.host + "]"
	}
	return a.scheme + "://" + a.host
}

// parseEndpoint accepts https://host[:port] and nothing more. Its errors never
// repeat what a path, a query or a user name said: it may be a secret.
func (f *Fence) parseEndpoint(endpoint string) (address, error) {
	bad := func(format string, args ...any) (address, error) {
		return address{}, &SiteError{"endpoint", fmt.Sprintf(format, args...)}
	}
	if endpoint == "" {
		return bad("is missing: want https://<resource>.openai.azure.com")
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return bad("is not a URL: want https://<resource>.openai.azure.com")
	}
	at := placeOf(u)
	loopback := isLoopbackHost(at.host)
	switch {
	case u.User != nil:
		return bad("holds a user name or password: remove it, a backend's credential is named under credential")
	case at.host == "":
		return bad("has no host: want https://<resource>.openai.azure.com")
	case !strings.EqualFold(strings.TrimSuffix(endpoint, "/"), u.Scheme+"://"+u.Host), strings.HasSuffix(u.Host, ":"):
		return bad("has more than a scheme and a host: want https://<resource>.openai.azure.com without a path or query")
	case endsInNumber(at.host) && !isIPLiteral(at.host):
		return bad("is an address written as a number: give the host's name, and the address under addresses")
	case !validHost(at.host) && !isIPLiteral(at.host):
		return bad("has a host that is not a name of letters, digits, hyphens and dots (a name in another script is written as xn--…)")
	case loopback && !f.residency.AllowLoopback:
		return bad("%s is on this machine: only a process started with --allow-loopback-backends may use it", at.host)
	case !loopback && isIPLiteral(at.host):
		return bad("%s is an address: give the host's name, and the address under addresses", at.host)
	case at.scheme != "https" && (!loopback || at.scheme != "http"):
		return bad("%s is not reached over https: write https://%s", at.host, at.host)
	case !validPort(at.port):
		return bad("has a port outside 1 to 65535")
	}
	return at, nil
}

// PlainHost reports whether a host is in the one spelling that ReferenceHost
// returns.
func PlainHost(host string) bool {
	return host == canonicalHost(host) && validHost(host) && !endsInNumber(host) && !isLoopbackHost(host) && strings.Contains(host, ".")
}

// ReferenceHost returns the host of a URL that somebody else will fetch, in the
// spelling of PlainHost. It accepts only what every reader of URLs takes for the
// same place: https, no user name, the scheme's own port, a name in ASCII, and no
// character that some readers drop or turn around.
func ReferenceHost(ref string) (string, bool) {
	for i := range len(ref) {
		if c := ref[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return "", false
		}
	}
	const scheme = "https://"
	if len(ref) <= len(scheme) || !strings.EqualFold(ref[:len(scheme)], scheme) {
		return "", false
	}
	authority := ref[len(scheme):]
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	host := canonicalHost(strings.TrimSuffix(authority, ":443"))
	u, err := url.Parse(ref)
	if err != nil || u.User != nil || canonicalHost(u.Hostname()) != host || !PlainHost(host) {
		return "", false
	}
	return host, true
}

// canonicalHost brings a host to the one spelling that is compared, resolved,
// checked and shown: small letters, no final dot, an IPv4 address as such.
func canonicalHost(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

// portOf returns the port in decimal without leading zeros.
func portOf(u *url.URL) string {
	p := u.Port()
	if p == "" {
		return defaultPort(u.Scheme)
	}
	if n, err := strconv.ParseUint(p, 10, 16); err == nil {
		return strconv.FormatUint(n, 10)
	}
	return p
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func isIPLiteral(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// isLoopbackHost reports whether a canonical host names this machine.
func isLoopbackHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// endsInNumber reports whether resolvers may take the host for an IPv4 address:
// getaddrinfo and browsers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1.
// No top-level domain is a number.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// validHost accepts the letter-digit-hyphen names of RFC 1123.
func validHost(host string) bool {
	if len(host) == 0 || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i] | 0x20
			if (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' {
				return false
			}
		}
	}
	return true
}
