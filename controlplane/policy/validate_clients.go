package policy

import (
	"encoding/hex"
	"strings"
)

// hashOfNothing is the SHA-256 of an empty key: what a script writes whose
// variable was not set, and what would let in everyone.
const hashOfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func (c *check) clients() {
	clients := c.doc.Clients
	if !c.count("clients", len(clients), maxClients) {
		return
	}
	known := make(map[string]bool, len(c.doc.Routes))
	for _, r := range c.doc.Routes {
		known[r.Name] = true
	}
	names, hashes, applications := make(unique), make(unique), make(unique)
	for i := range clients {
		cl, path := &clients[i], at("clients", i)
		if c.name(path+".name", cl.Name, nameForm()) {
			names.add(c, path+".name", cl.Name, "name")
		}
		if c.count(path+".keys", len(cl.Keys), maxKeys) {
			for j, k := range cl.Keys {
				c.key(at(path+".keys", j)+".sha256", k.SHA256, hashes)
			}
		}
		if c.count(path+".entra", len(cl.Entra), maxEntra) {
			for j, e := range cl.Entra {
				c.application(at(path+".entra", j), e, applications)
			}
		}
		c.grants(path+".routes", cl.Routes, known)
	}
}

func (c *check) key(path, sum string, seen unique) {
	lower := strings.ToLower(sum)
	switch raw, err := hex.DecodeString(lower); {
	case sum == "":
		c.fault(path, "is missing: write the SHA-256 of the whole key, 64 hex digits")
	case err != nil || len(raw) != 32:
		c.fault(path, "is not 64 hex digits: write the SHA-256 of the whole key (never the key itself: if it stood here, replace it)")
	case lower == hashOfNothing:
		c.fault(path, "is the SHA-256 of an empty text: hash the key again")
	default:
		seen.add(c, path, lower, "key")
	}
}

func (c *check) application(path string, e EntraClient, seen unique) {
	given := func(field, id string) bool {
		if id == "" {
			c.fault(path+"."+field, "is missing: want a GUID")
		}
		c.guid(path+"."+field, id)
		return isGUID(id)
	}
	tenant, application := given("tenant", e.Tenant), given("application", e.Application)
	if tenant && application {
		seen.add(c, path, strings.ToLower(e.Tenant+"/"+e.Application), "application")
	}
}

func (c *check) grants(path string, routes []string, known map[string]bool) {
	if !c.count(path, len(routes), maxRoutes) {
		return
	}
	seen := make(map[string]int, len(routes))
	for i, r := range routes {
		if !known[r] {
			c.fault(at(path, i), "%s is not a route of this document: correct the name, or add the route", quote(r))
			continue
		}
		if first, again := seen[r]; again {
			c.later(at(path, i), "is the same route as %s: keep one", at(path, first))
			continue
		}
		seen[r] = i
	}
}
