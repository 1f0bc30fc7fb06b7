package operation

import (
	"strings"
	"sync"
)

// row completes an operation by its place in the API.
func row(surface Surface, method, path string, op Operation) Operation {
	op.Surface, op.Method = surface, method
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "{d}":
			op.path = append(op.path, segment{deployment: true})
		case "{id}":
			op.path = append(op.path, segment{})
		default:
			op.path = append(op.path, segment{literal: part})
		}
	}
	return op
}

// A node is a place in the tree of paths. Literals win over names, so that
// threads/runs is not the thread called runs.
type node struct {
	literals map[string]*node
	name     *node
	methods  map[string]*Operation
}

func (n *node) child(s segment) *node {
	if s.literal == "" {
		if n.name == nil {
			n.name = &node{}
		}
		return n.name
	}
	if n.literals == nil {
		n.literals = make(map[string]*node)
	}
	if n.literals[s.literal] == nil {
		n.literals[s.literal] = &node{}
	}
	return n.literals[s.literal]
}

// index holds a tree for each surface. It is built once and then only read.
type index struct {
	surfaces [2]*node
	rows     []Operation
}

func buildIndex() *index {
	ix := &index{surfaces: [2]*node{{}, {}}, rows: table()}
	for i := range ix.rows {
		op := &ix.rows[i]
		n := ix.surfaces[op.Surface]
		for _, s := range op.path {
			n = n.child(s)
		}
		if n.methods == nil {
			n.methods = make(map[string]*Operation)
		}
		if n.methods[op.Method] != nil {
			panic("operation: the table holds " + op.Method + " " + op.Name + " twice")
		}
		n.methods[op.Method] = op
	}
	return ix
}

//nolint:gochecknoglobals // never changes once built: the table is a constant that Go cannot write as one
var theIndex = sync.OnceValue(buildIndex)
