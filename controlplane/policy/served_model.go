package policy

import (
	"strings"
	"time"
)

// maxServedAs bounds the names of one deployment.
const maxServedAs = 20

func (c *check) servedAs(path string, d *Deployment) {
	if !c.count(path, len(d.ServedAs), maxServedAs) {
		return
	}
	for i, name := range d.ServedAs {
		c.name(at(path, i), name, modelForm())
	}
}

func (c *check) onModelMismatch() {
	switch c.doc.OnModelMismatch {
	case "", MismatchAvoid, MismatchAlarm:
	default:
		c.fault("onModelMismatch", "%s: want avoid or alarm, or leave it out", quote(c.doc.OnModelMismatch))
	}
}

// answerNames are the names by which a deployment's answers may call its model.
// Azure says the model, or the model and its version. What an openai-compatible
// server says is known only where the operator declares it.
func answerNames(b *Backend, d *Deployment) map[string]bool {
	names := make(map[string]bool, len(d.ServedAs)+2)
	if b.Kind != OpenAICompatible {
		names[d.Model], names[d.Model+"-"+d.Version] = true, true
	} else if len(d.ServedAs) == 0 {
		return nil
	}
	for _, name := range d.ServedAs {
		names[name] = true
	}
	return names
}

// knowOthers tells each target the names of all models of the document.
func (c *check) knowOthers() {
	all := make(map[string]bool)
	for _, t := range c.targets {
		all[t.Model], all[t.Model+"-"+t.Version] = true, true
	}
	for _, t := range c.targets {
		t.others = all
	}
}

// A ModelName is how the name in an answer relates to a target's model.
type ModelName uint8

// The relations.
const (
	// ModelUnsaid: the answer names none, or there is nothing to compare it with.
	ModelUnsaid ModelName = iota
	// ModelRight: it is the target's.
	ModelRight
	// ModelUnknown: it is neither the target's nor known to be another.
	ModelUnknown
	// ModelOther: it is another model of the document, or the target's at another version.
	ModelOther
)

// Names compares the name that an answer gives as its model with the target's.
func (t *Target) Names(model string) ModelName {
	switch {
	case model == "" || t.names == nil:
		return ModelUnsaid
	case t.names[model]:
		return ModelRight
	case t.others[model]:
		return ModelOther
	}
	if version, ok := strings.CutPrefix(model, t.Model+"-"); ok && isVersion(version) && t.Kind == AzureOpenAI {
		return ModelOther
	}
	return ModelUnknown
}

// isVersion recognises the versions of Azure's models: dates, whole as
// 2024-11-20 or short as 0613.
func isVersion(s string) bool {
	if _, err := time.Parse("2006-01-02", s); err == nil {
		return true
	}
	_, err := time.Parse("0102", s)
	return err == nil
}
