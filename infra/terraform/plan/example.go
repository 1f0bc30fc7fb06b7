package plan

import (
	"context"
	"fmt"
	"sync"
)

// An Example is every layer of the example boundary, planned.
type Example struct {
	Boundary, Instances, Stores, Edge *Plan
	Regions, Stamps                   map[string]*Plan // by region
	runs                              map[string]map[string]*Plan
}

// Regions are those of the example boundary.
func exampleRegions() []string { return []string{"swedencentral", "francecentral"} }

// Plan plans every layer of the example boundary as its settings say. Run names
// the test run whose plan is taken: example, or strict where a layer has it.
func (t *Terraform) Plan(ctx context.Context) (*Example, error) {
	e := &Example{Regions: map[string]*Plan{}, Stamps: map[string]*Plan{}, runs: map[string]map[string]*Plan{}}
	var mu sync.Mutex // guards e and errs
	var errs []error
	var wg sync.WaitGroup
	one := func(layer, region string) {
		plans, err := t.Layer(ctx, layer, region)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, err)
			return
		}
		if plans["example"] == nil {
			errs = append(errs, fmt.Errorf("%s %s has no run named example", layer, region))
		}
		e.runs[layer+region] = plans
	}
	for _, layer := range []string{"10-boundary", "30-instances", "40-stores", "60-edge"} {
		wg.Go(func() { one(layer, "") })
	}
	for _, layer := range []string{"20-region", "50-stamp"} {
		wg.Go(func() { // one after the other: they share a folder
			for _, region := range exampleRegions() {
				one(layer, region)
			}
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		return nil, errs[0]
	}
	e.take("example")
	return e, nil
}

// Strict is the same boundary under strict residency: the layers that change.
func (e *Example) Strict() *Example { return e.As("strict") }

// As is the same boundary as a run of the layers' tests has it, in the layers
// that have such a run.
func (e *Example) As(run string) *Example {
	other := &Example{Regions: map[string]*Plan{}, Stamps: map[string]*Plan{}, runs: e.runs}
	other.take(run)
	return other
}

func (e *Example) take(run string) {
	of := func(layer, region string) *Plan {
		if p := e.runs[layer+region][run]; p != nil {
			return p
		}
		return e.runs[layer+region]["example"]
	}
	e.Boundary, e.Instances, e.Stores, e.Edge = of("10-boundary", ""), of("30-instances", ""), of("40-stores", ""), of("60-edge", "")
	for _, region := range exampleRegions() {
		e.Regions[region], e.Stamps[region] = of("20-region", region), of("50-stamp", region)
	}
}

// All are the plans of all layers.
func (e *Example) All() []*Plan {
	all := []*Plan{e.Boundary, e.Instances, e.Stores, e.Edge}
	for _, region := range exampleRegions() {
		all = append(all, e.Regions[region], e.Stamps[region])
	}
	return all
}
