package geo_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"net/netip"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/geo"
)

func TestZeroTargetIsRefused(t *testing.T) {
	var zero geo.Target
	if zero.Valid() || zero.Boundary() != "" || zero.Origin() != "" {
		t.Error("the zero Target passes for one")
	}
	if zero.CheckAddr(netip.MustParseAddr("20.1.2.3")) == nil {
		t.Error("the zero Target may be dialled")
	}
}

// A Fence that NewFence did not make has no country inside.
func TestZeroFenceAdmitsNothing(t *testing.T) {
	site := geo.Site{Region: "swedencentral", SKU: geo.Standard, Endpoint: "https://a.example", Deployment: "d"}
	for _, f := range []*geo.Fence{nil, {}} {
		if target, err := f.Admit(site); err == nil || target.Valid() {
			t.Errorf("%v admitted %v", f, target)
		}
	}
}

// "The type carries the boundary, so that code which dials something unfenced
// does not compile": each snippet is what such code would have to write.
func TestTargetCannotBeMadeElsewhere(t *testing.T) {
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "source", nil) // one, so that geo is read once
	compile := func(body string) error {
		source := "package outside\nimport \"github.com/stampgate/stampgate/geo\"\nfunc dial(t geo.Target) {}\nfunc f(fence *geo.Fence, other geo.Target) {\n" + body + "\n}\n"
		file, err := parser.ParseFile(fset, "outside.go", source, 0)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		conf := types.Config{Importer: imports}
		_, err = conf.Check("outside", fset, []*ast.File{file}, nil)
		return err
	}
	if err := compile(`t, _ := fence.Admit(geo.Site{}); dial(t)`); err != nil {
		t.Fatalf("the one way in is closed: %v", err)
	}
	for body, want := range map[string]string{
		`dial(geo.Target{fence: fence})`:                                                   "unexported field",
		`dial(geo.Target{Host: "evil.example"})`:                                           "unknown field",
		`dial(geo.Target{fence, "r", "SE", "", "d", "https", "evil.example", "443", nil})`: "unexported field",
		`t := geo.Target{}; t.host = "evil.example"; dial(t)`:                              "host",
		`other.host = "evil.example"`:                                                      "host",
		`other.fence = nil`:                                                                "fence",
		`dial("evil.example:443")`:                                                         "cannot use",
		`dial(struct{ host string }{"evil.example"})`:                                      "cannot use",
		`type mine struct{ fence *geo.Fence; host string }; dial(geo.Target(mine{}))`:      "cannot convert",
		`fence.inside["US"] = true`:                                                        "inside",
		`fence.residency.Countries = nil`:                                                  "residency",
		`_ = geo.Fence{inside: map[geo.Country]bool{"US": true}}`:                          "unexported field",
		`var a geo.Boundary = "eu"; var r geo.RegionID = a; _ = r`:                         "cannot use",
	} {
		if err := compile(body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ncompiles, or fails for another reason than %q: %v", body, want, err)
		}
	}
}

func admitted(t *testing.T, r geo.Residency, addresses ...string) geo.Target {
	t.Helper()
	r.Boundary, r.Countries = "eu", []geo.Country{"SE"}
	f, err := geo.NewFence(r)
	if err != nil {
		t.Fatal(err)
	}
	site := geo.Site{Region: "swedencentral", SKU: geo.Standard, Endpoint: "https://swc.openai.azure.com", Deployment: "d"}
	for _, a := range addresses {
		site.Addresses = append(site.Addresses, netip.MustParsePrefix(a))
	}
	target, err := f.Admit(site)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// A lying name server must not lead to this machine, to a metadata service, or
// to an address that hides one of them.
func TestSomeAddressesAreNeverDialled(t *testing.T) {
	for _, target := range []geo.Target{
		admitted(t, geo.Residency{}),
		admitted(t, geo.Residency{AllowLoopback: true}), // for loopback endpoints, not for this one
		admitted(t, geo.Residency{RequirePrivateAddresses: true}, "168.0.0.0/8", "10.0.0.0/8", "2000::/16"),
	} {
		for _, addr := range []string{
			"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "0.0.0.1", "::", "169.254.169.254", "::ffff:169.254.169.254",
			"fe80::1", "fe80::1%eth0", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "168.63.129.16", "::ffff:168.63.129.16",
			"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::7f00:1", "::127.0.0.1", "::7f00:1", "fec0::1",
			"fd00::1%eth0",
		} {
			if target.CheckAddr(netip.MustParseAddr(addr)) == nil {
				t.Errorf("%s may be dialled", addr)
			}
		}
		if target.CheckAddr(netip.Addr{}) == nil {
			t.Error("no address at all may be dialled")
		}
	}
}

func TestDeclaredAddressesAreTheOnlyOnes(t *testing.T) {
	target := admitted(t, geo.Residency{RequirePrivateAddresses: true}, "10.20.0.0/24", "fd12:3456::/32", "10.30.0.7/24")
	for addr, ok := range map[string]bool{
		"10.20.0.1": true, "10.20.0.255": true, "::ffff:10.20.0.9": true, "fd12:3456::1": true, "10.30.0.200": true,
		"10.20.1.0": false, "10.19.255.255": false, "20.50.1.1": false, "fd12:3457::1": false, "2603:1020::1": false, "10.31.0.7": false,
	} {
		if err := target.CheckAddr(netip.MustParseAddr(addr)); (err == nil) != ok {
			t.Errorf("%s: %v, want ok = %v", addr, err, ok)
		}
	}
	open := admitted(t, geo.Residency{})
	for _, addr := range []string{"20.50.1.1", "10.1.2.3", "2603:1020::1", "fd00::1"} {
		if err := open.CheckAddr(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("nothing declared, nothing required: %v", err)
		}
	}
}

func TestRangesThatGuardNothingAreRefused(t *testing.T) {
	f, err := geo.NewFence(geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}, RequirePrivateAddresses: true})
	if err != nil {
		t.Fatal(err)
	}
	site := geo.Site{Region: "swedencentral", SKU: geo.Standard, Endpoint: "https://swc.openai.azure.com", Deployment: "d"}
	for _, a := range []string{
		"0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "2000::/3", "8.0.0.0/7", "::ffff:10.0.0.0/104", "127.0.0.0/8", "::1/128", "169.254.0.0/16",
		"fe80::/64", "224.0.0.0/8", "168.63.129.16/32", "64:ff9b::/96", "2002::/16", "2001::/32", "0.0.0.0/8", "255.255.255.255/32",
	} {
		site.Addresses = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24"), netip.MustParsePrefix(a)}
		if _, err := f.Admit(site); err == nil || !strings.Contains(err.Error(), "addresses[1]: ") {
			t.Errorf("%s: %v", a, err)
		}
	}
	site.Addresses = []netip.Prefix{{}}
	if _, err := f.Admit(site); err == nil {
		t.Error("the zero prefix is accepted")
	}
	for _, a := range []string{"10.0.0.0/8", "10.20.0.4/32", "fd00::/8", "fc00::/7", "100.64.0.0/10", "2603:1020::/32", "52.0.0.0/8"} {
		site.Addresses = []netip.Prefix{netip.MustParsePrefix(a)}
		if _, err := f.Admit(site); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// A connection may be shared by two targets only if both would have been
// allowed to dial it.
func TestSameEndpointMeansTheSameDial(t *testing.T) {
	same := admitted(t, geo.Residency{}, "10.20.0.0/24")
	if !same.SameEndpoint(admitted(t, geo.Residency{}, "10.20.0.0/24")) {
		t.Error("two admissions of one endpoint differ")
	}
	if port, err := same.PortNumber(); err != nil || port != 443 {
		t.Errorf("port %d, %v", port, err)
	}
	if _, err := (geo.Target{}).PortNumber(); err == nil {
		t.Error("the zero Target has a port")
	}
	for name, other := range map[string]geo.Target{
		"zero":                   {},
		"other addresses":        admitted(t, geo.Residency{}, "10.30.0.0/24"),
		"no addresses":           admitted(t, geo.Residency{}),
		"private addresses only": admitted(t, geo.Residency{RequirePrivateAddresses: true}, "10.20.0.0/24"),
		"loopback allowed":       admitted(t, geo.Residency{AllowLoopback: true}, "10.20.0.0/24"),
	} {
		if same.SameEndpoint(other) || other.SameEndpoint(same) {
			t.Errorf("%s: shares the connection", name)
		}
	}
}
