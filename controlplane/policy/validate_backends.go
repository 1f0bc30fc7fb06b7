package policy

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"github.com/stampgate/stampgate/geo"
)

// Bounds of what a deployment may declare; well above anything Azure sells.
const (
	maxPTU    = 1_000_000
	maxRate   = 1_000_000_000_000
	minWeight = 0.001
	maxWeight = 100_000.0
)

func (c *check) backends() {
	backends := c.doc.Backends
	if len(backends) == 0 {
		c.fault("backends", "is empty: name at least one instance")
	}
	if !c.count("backends", len(backends), maxBackends) {
		return
	}
	names, origins := make(unique), make(unique)
	total := 0
	for i := range backends {
		b, path := &backends[i], at("backends", i)
		if c.name(path+".name", b.Name, nameForm()) {
			names.add(c, path+".name", b.Name, "name")
		}
		if origin, ok := geo.Origin(b.Endpoint); ok {
			origins.add(c, path+".endpoint", origin, "endpoint")
		}
		c.backendIn[b.Region] = true
		c.kind(path, b)
		c.credential(path+".credential", b.Credential)
		c.scope(path+".scope", b)
		c.probe(path+".probe", b)
		c.instantModels(path+".instantModels", b)
		if total += len(b.Deployments); total <= maxAllDeployments {
			c.deployments(path, b)
		}
	}
	c.count("backends[*].deployments", total, maxAllDeployments)
	c.weigh()
}

func (c *check) kind(path string, b *Backend) {
	_, azure := geo.Lookup(b.Region)
	switch b.Kind {
	case "", AzureOpenAI:
		if !azure && b.Region != "" && b.Country != "" { // without a country the fence says so
			c.fault(path+".region", "%s is not a region of Azure: correct the name; only kind: openai-compatible may stand on a site of its own", quote(b.Region))
		}
	case OpenAICompatible:
		if b.Country == "" {
			c.fault(path+".country", "is missing: kind openai-compatible must say in which country it processes")
		}
	default:
		c.fault(path+".kind", "%s: want azure-openai or openai-compatible", quote(b.Kind))
	}
	if !azure && b.Region != "" && c.name(path+".region", string(b.Region), nameForm()) && b.Country.Valid() {
		c.site(path, b.Region, b.Country)
	}
}

func (c *check) credential(path string, cred Credential) {
	n := 0
	if m := cred.ManagedIdentity; m != nil {
		n++
		c.guid(path+".managedIdentity.clientID", m.ClientID)
	}
	if w := cred.WorkloadIdentity; w != nil {
		n++
		c.guid(path+".workloadIdentity.clientID", w.ClientID)
		c.guid(path+".workloadIdentity.tenantID", w.TenantID)
	}
	if f := cred.APIKeyFile; f != "" {
		n++
		switch {
		case looksSecret(f):
			c.fault(path+".apiKeyFile", "looks like the key itself: name the file that holds it, and replace the key")
		case f[0] != '/' || len(f) > 4096 || strings.ContainsFunc(f, func(r rune) bool { return r < ' ' || r == 0x7f }):
			c.fault(path+".apiKeyFile", "is not the absolute path of a file, such as /run/secrets/swc")
		}
	}
	if v := cred.APIKeyEnv; v != "" {
		n++
		if !isEnvName(v) {
			c.fault(path+".apiKeyEnv", "is not the name of an environment variable (capitals, digits and _, such as SWC_KEY): never write the key itself here")
		}
	}
	const want = "want exactly one of {managedIdentity: {}}, {workloadIdentity: {}}, {apiKeyFile: …} or {apiKeyEnv: …}"
	if n == 0 {
		c.fault(path, "is missing: "+want)
	} else if n > 1 {
		c.fault(path, "names %d ways to sign in: "+want, n)
	}
}

// isEnvName accepts what a key would not look like.
func isEnvName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'A' || c > 'Z') && (i == 0 || !isDigit(c)) {
			return false
		}
	}
	return len(s) <= 128 && !looksSecret(s)
}

func (c *check) guid(path, id string) {
	if id != "" && !isGUID(id) {
		c.fault(path, "is not a GUID such as 00000000-0000-0000-0000-000000000000")
	}
}

func (c *check) scope(path string, b *Backend) {
	if b.Scope == "" {
		return
	}
	if b.Credential.APIKeyEnv != "" || b.Credential.APIKeyFile != "" {
		c.fault(path, "is for tokens, but the credential is a key: remove it")
	}
	u, err := url.Parse(b.Scope)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" ||
		!strings.HasSuffix(b.Scope, "/.default") || len(b.Scope) > 256 {
		c.fault(path, "is not an https URL that ends in /.default, such as https://cognitiveservices.azure.com/.default")
	}
}

func (c *check) probe(path string, b *Backend) {
	switch b.Probe {
	case "", ProbeModels, ProbeConnect, ProbeOff:
	default:
		c.fault(path, "%s: want models, connect or off, or leave it out", quote(b.Probe))
	}
}

func probeOrDefault(b *Backend) Probe {
	switch {
	case b.Probe != "":
		return b.Probe
	case b.Kind == OpenAICompatible:
		return ProbeConnect
	}
	return ProbeModels
}

// deployments checks each deployment and admits it through the fence.
func (c *check) deployments(path string, b *Backend) {
	if len(b.Deployments) == 0 {
		c.fault(path+".deployments", "is empty: name at least one")
		c.admit(path, path, b, &Deployment{SKU: geo.Standard}) // the backend's own claims all the same
	}
	if !c.count(path+".deployments", len(b.Deployments), maxDeployments) {
		return
	}
	if !c.count(path+".addresses", len(b.Addresses), maxAddresses) {
		return
	}
	names := make(unique)
	for i := range b.Deployments {
		d, p := &b.Deployments[i], at(path+".deployments", i)
		if c.name(p+".name", d.Name, deploymentForm()) {
			// Azure compares the names of its resources without case.
			names.add(c, p+".name", strings.ToLower(d.Name), "name")
		}
		c.name(p+".model", d.Model, modelForm())
		c.name(p+".version", d.Version, modelForm())
		c.servedAs(p+".servedAs", d)
		c.capacity(p, b, d)
		c.spillover(p, b, d)
		c.beyondDeployment(p, b, d)
		full := b.Name + "/" + d.Name
		c.named[full] = true
		if t, ok := c.admit(path, p, b, d); ok {
			c.keep(full, t)
		}
	}
}

func (c *check) capacity(path string, b *Backend, d *Deployment) {
	between := func(field string, n, most int) {
		if n < 0 || n > most {
			c.fault(path+"."+field, "%d: want 1 to %d, or leave it out", n, most)
		}
	}
	between("ptu", d.PTU, maxPTU)
	between("tokensPerMinute", d.TokensPerMinute, maxRate)
	between("requestsPerMinute", d.RequestsPerMinute, maxRate)
	if d.Weight != 0 && !(d.Weight >= minWeight && d.Weight <= maxWeight) { // a NaN is neither
		c.fault(path+".weight", "%v: want %v to %v, or leave it out", d.Weight, minWeight, maxWeight)
	}
	switch compatible := b.Kind == OpenAICompatible; {
	case compatible && d.SKU != "":
		c.fault(path+".sku", "%s, but kind openai-compatible has no deployment types of Azure: remove it", quote(d.SKU))
	case !compatible && d.SKU == "" && b.Country != "": // without a country the fence says so
		c.fault(path+".sku", "is missing: name the deployment type, such as Standard or ProvisionedManaged")
	case d.SKU.Provisioned() && d.TokensPerMinute != 0:
		c.fault(path+".tokensPerMinute", "does not belong to %s: give ptu", quote(d.SKU))
	case !d.SKU.Provisioned() && d.PTU != 0:
		c.fault(path+".ptu", "does not belong to a deployment that is not provisioned: give tokensPerMinute")
	}
}

// spillover checks what Azure itself may send a provisioned deployment's
// overflow to: that happens behind the gateway's back, so it must lie inside
// the boundary too.
func (c *check) spillover(path string, b *Backend, d *Deployment) {
	if d.SpilloverDeployment == "" {
		return
	}
	path += ".spilloverDeployment"
	if !d.SKU.Provisioned() {
		c.fault(path, "belongs to a provisioned deployment, not to %s: remove it", quote(d.SKU))
	}
	for i := range b.Deployments {
		to := &b.Deployments[i]
		if !strings.EqualFold(to.Name, d.SpilloverDeployment) {
			continue
		}
		switch {
		case to == d:
			c.fault(path, "is the deployment itself: name a standard deployment of this backend")
		case to.SKU.Provisioned() || to.SKU.Batch():
			c.fault(path, "%s is of type %s: Azure spills over to a standard deployment only", quote(to.Name), quote(to.SKU))
		case to.Model != d.Model || to.Version != d.Version:
			c.fault(path, "%s has model %s at version %s, not %s at %s: a spillover must not change the model",
				quote(to.Name), quote(to.Model), quote(to.Version), quote(d.Model), quote(d.Version))
		}
		if err := c.siteFault(b, to, "sku"); err != "" {
			c.fault(path, "%s may process outside: %s", quote(to.Name), err)
		}
		return
	}
	c.fault(path, "%s is not a deployment of backend %s: add it with its sku, so that it can be checked", quote(d.SpilloverDeployment), quote(b.Name))
}

func (c *check) claim(b *Backend, d *Deployment) geo.Site {
	site := geo.Site{Region: b.Region, Country: b.Country, SKU: d.SKU, Endpoint: b.Endpoint, Deployment: d.Name}
	for _, a := range b.Addresses[:min(len(b.Addresses), maxAddresses)] {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			p = netip.Prefix{} // which the fence refuses
		}
		site.Addresses = append(site.Addresses, p)
	}
	return site
}

// siteFault returns what the fence says about one field of a deployment, "" if
// nothing.
func (c *check) siteFault(b *Backend, d *Deployment, field string) string {
	_, err := c.fence.Admit(c.claim(b, d))
	for _, e := range siteErrors(err) {
		if e.Field == field {
			return e.Text
		}
	}
	return ""
}

// admit asks the document's fence, and the process's own, for a Target.
func (c *check) admit(backend, deployment string, b *Backend, d *Deployment) (*Target, bool) {
	site := c.claim(b, d)
	inner, err := c.fence.Admit(site)
	paths := claimPaths{backend, deployment, site}
	c.siteFaults(paths, "", err)
	if err == nil && c.local != nil {
		_, err = c.local.Admit(site)
		c.siteFaults(paths, "this process's own residency refuses it: ", err)
	}
	if err != nil {
		return nil, false
	}
	return &Target{
		Target: inner, Key: Key{Origin: inner.Origin(), Deployment: d.Name},
		Backend: b.Name, Kind: kindOrDefault(b.Kind), Deployment: d.Name, Model: d.Model, Version: d.Version,
		Provisioned: d.SKU.Provisioned(), Credential: b.Credential.clone(), Scope: scopeOrDefault(b),
		Probe: probeOrDefault(b), TokensPerMinute: d.TokensPerMinute,
		AvoidMismatch: c.doc.OnModelMismatch != MismatchAlarm, names: answerNames(b, d),
	}, true
}

// claimPaths are the places in the document that a claim was made up from.
type claimPaths struct {
	backend, deployment string
	site                geo.Site
}

func (c *check) siteFaults(from claimPaths, who string, err error) {
	for _, e := range siteErrors(err) {
		path := from.backend
		if e.Field == "sku" {
			path = from.deployment
		}
		if who != "" && strings.HasPrefix(e.Field, "addresses") {
			continue // told at residency.requirePrivateAddresses
		}
		text := e.Text
		for _, v := range []string{string(from.site.Region), string(from.site.Country), string(from.site.SKU)} {
			if looksSecret(v) {
				text = "looks like a secret: give the true value, and replace the secret"
			}
		}
		c.fault(path+"."+e.Field, "%s%s", who, text)
	}
}

func siteErrors(err error) []*geo.SiteError {
	var found []*geo.SiteError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			if e, ok := errors.AsType[*geo.SiteError](one); ok {
				found = append(found, e)
			}
		}
	}
	return found
}

func (c *check) keep(full string, t *Target) {
	if c.byName[full] != nil {
		return // a fault already
	}
	c.byName[full] = t
	c.targets = append(c.targets, t)
	if !t.SKU().Batch() {
		mv := modelVersion{t.Model, t.Version}
		c.byModel[mv] = append(c.byModel[mv], t)
	}
}

func kindOrDefault(k Kind) Kind {
	if k == "" {
		return AzureOpenAI
	}
	return k
}

// defaultScope is the audience of Azure OpenAI's own endpoints.
const defaultScope = "https://cognitiveservices.azure.com/.default"

func scopeOrDefault(b *Backend) string {
	if b.Scope == "" && (b.Credential.ManagedIdentity != nil || b.Credential.WorkloadIdentity != nil) {
		return defaultScope
	}
	return b.Scope
}

func (c Credential) clone() Credential {
	if c.ManagedIdentity != nil {
		c.ManagedIdentity = new(*c.ManagedIdentity)
	}
	if c.WorkloadIdentity != nil {
		c.WorkloadIdentity = new(*c.WorkloadIdentity)
	}
	return c
}
