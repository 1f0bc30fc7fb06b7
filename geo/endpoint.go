package geo

import (
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
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return "", false
	}
	return origin(u.Scheme, canonicalHost(u.Hostname()), portOf(u)), true
}

func origin(scheme, host, port string) string {
	if port == defaultPort(scheme) {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// canonicalHost brings a host to the one spelling that is compared, resolved
// and shown.
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
