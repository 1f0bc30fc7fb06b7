package policy

// weigh gives every target its weight: the declared one, else its capacity in
// units of the mean of its equals (same model and version, both provisioned or
// both not), else 1. So a target that declares nothing counts as an average
// one, and PTU are never compared with tokens per minute.
func (c *check) weigh() {
	type class struct {
		modelVersion
		provisioned bool
	}
	type sum struct{ total, n float64 }
	sums := make(map[class]sum)
	declared := make(map[*Target]float64)
	of := func(t *Target) class { return class{modelVersion{t.Model, t.Version}, t.Provisioned} }
	for i := range c.doc.Backends {
		b := &c.doc.Backends[i]
		for j := range b.Deployments {
			d := &b.Deployments[j]
			t := c.byName[b.Name+"/"+d.Name]
			if t == nil {
				continue
			}
			t.Weight = d.Weight
			if capacity := float64(max(d.PTU, d.TokensPerMinute)); capacity > 0 && d.Weight == 0 {
				declared[t] = capacity
				s := sums[of(t)]
				sums[of(t)] = sum{s.total + capacity, s.n + 1}
			}
		}
	}
	for _, t := range c.targets {
		if capacity, ok := declared[t]; ok {
			s := sums[of(t)]
			t.Weight = capacity / (s.total / s.n)
		}
		if t.Weight == 0 {
			t.Weight = 1
		}
	}
}
