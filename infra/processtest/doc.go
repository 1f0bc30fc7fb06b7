// Package processtest holds a stamp of real gateway processes to its promises:
// what signals, kills and stops do to the requests that run.
//
// It has tests only. The gateways are the command as it is shipped, built once
// for all tests; control plane and simulated backends run in the test's own
// process, by package e2e.
package processtest
