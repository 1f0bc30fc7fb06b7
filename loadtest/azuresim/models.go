package azuresim

import (
	"net/http"
	"slices"
	"strings"
)

// modelCreated is when every simulated model was made.
const modelCreated = "1730419200"

// modelJSON describes a model as the models operations do.
func modelJSON(d *deployment) string {
	c := capabilityOf(d.Model)
	can := func(is bool) string {
		if is {
			return "true"
		}
		return "false"
	}
	return `{"capabilities":{"fine_tune":false,"inference":true,"completion":` + can(c == canComplete) +
		`,"chat_completion":` + can(c == canChat) + `,"embeddings":` + can(c == canEmbed) +
		`},"lifecycle_status":"generally-available","id":` + quote(d.snapshotName()) +
		`,"status":"succeeded","created_at":` + modelCreated + `,"updated_at":` + modelCreated + `,"object":"model"}`
}

// models returns one description per model, not per deployment, in order.
func (i *Instance) models() map[string]string {
	out := map[string]string{}
	for _, d := range i.deployments {
		out[d.snapshotName()] = modelJSON(d)
	}
	return out
}

func serveModels(x *exchange) {
	all := x.inst.models()
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	slices.Sort(names)
	for n, name := range names {
		names[n] = all[name]
	}
	x.plain(&answer{status: http.StatusOK, body: `{"data":[` + strings.Join(names, ",") + `],"object":"list"}`})
}

func serveModel(x *exchange) {
	m, ok := x.inst.models()[x.id]
	if !ok {
		x.plain(resourceNotFound())
		return
	}
	x.plain(&answer{status: http.StatusOK, body: m})
}
