package relay

import "sync"

// names makes strings of the models that answers name, the same string each
// time: there are few, and each answer has one.
type names struct {
	mu    sync.RWMutex // guards known
	known map[string]string
}

// maxNames bounds what a backend that invents names can have kept.
const maxNames = 1000

func (n *names) of(name []byte) string {
	if len(name) == 0 {
		return ""
	}
	n.mu.RLock()
	s, ok := n.known[string(name)]
	n.mu.RUnlock()
	if ok {
		return s
	}
	s = string(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = make(map[string]string)
	}
	if len(n.known) < maxNames {
		n.known[s] = s
	}
	return s
}
