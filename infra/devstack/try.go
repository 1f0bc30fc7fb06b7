package devstack

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// WhatToTry prints, for a person, what runs and the first things to do with it;
// program is what stampctl was called as.
func WhatToTry(w io.Writer, program, dir string, s *Stack) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	names := slices.Sorted(maps.Keys(s.Boundaries))
	p("")
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range names {
		for _, g := range s.Boundaries[name].Gateways {
			_, _ = fmt.Fprintf(columns, "  %s\t%s\t%s\t%s\n", name, g.Region, g.Name, g.URL)
		}
	}
	_ = columns.Flush() // as with every line here, nobody may be reading
	p("")
	p("  control plane                %s", s.ControlPlane.URL)
	p("  everything, with keys        %s", filepath.Join(dir, StackFileName))
	if s.CAFile != "" {
		p("  the certificate to trust     %s", s.CAFile)
	}
	p("  logs                         %s", filepath.Join(dir, "logs"))
	first := s.Boundaries[names[0]]
	gateway, client := first.Gateways[0], first.Clients[0]
	p("")
	p("try a request:")
	p("  curl -s%s '%s' \\", curlTrust(s.CAFile), chatURL(gateway.URL))
	p("    -H 'api-key: %s' -H 'content-type: application/json' \\", client.Key)
	p("    -d '{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'")
	p("")
	p("an SDK needs two settings, as for the v1 API of Azure OpenAI:")
	p("  OPENAI_BASE_URL=%s/openai/v1 OPENAI_API_KEY=%s", gateway.URL, client.Key)
	if s.CAFile != "" {
		p("  and trust: SSL_CERT_FILE=%s for Python and Go, NODE_EXTRA_CA_CERTS=%s for Node", s.CAFile, s.CAFile)
	}
	p("")
	p("and the operator's side, in another terminal%s:", stackFlags(dir))
	p("  %s status", program)
	p("  %s explain --boundary %s --region %s --client %s --route %s", program, names[0], gateway.Region, client.Name, probeRoute)
	p("  %s drain backend %s --boundary %s --reason trying --for 10m", program, first.Backends[0].Name, names[0])
	p("")
	p("Ctrl-C stops everything")
}

// curlTrust is what curl needs to believe the gateways.
func curlTrust(caFile string) string {
	if caFile == "" {
		return ""
	}
	return " --cacert '" + caFile + "'"
}

// stackFlags reminds of what stampctl needs where it does not find the stack by
// itself.
func stackFlags(dir string) string {
	if filepath.Base(dir) == DefaultDir && !strings.ContainsRune(filepath.ToSlash(dir), '/') {
		return ""
	}
	return " (with STAMPGATE_STACK=" + filepath.Join(dir, StackFileName) + " where this is not its folder)"
}
