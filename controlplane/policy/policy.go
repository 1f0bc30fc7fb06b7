// Package policy is the contract between those who write a boundary's routing
// policy and those who follow it: the document, its validation, and the
// immutable Snapshot that it compiles to.
//
// It is pure: no I/O, no goroutine, and of our packages it imports only geo and
// the reader of YAML.
// Gateways, control plane and tools may all import it. It never decides whether
// a signature or a serial is good: see the packages signing and store.
package policy
