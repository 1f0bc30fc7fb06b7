//go:build race

package serve_test

// raceFactor is by how much the race detector slows the machine down.
const raceFactor = 3
