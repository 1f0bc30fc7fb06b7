// Package sdktest runs the official Python and Node SDKs against gateways. The
// SDKs are installed by the script run, at the versions that the lock files
// beside it name.
package sdktest
