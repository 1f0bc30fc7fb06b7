// Package sdktest runs the official Python and Node SDKs against gateways, and
// them, the Go one and what README.md has to be pasted against the development
// stack over TLS. The SDKs are installed by the script run, at the versions that
// the lock files beside it name.
package sdktest
