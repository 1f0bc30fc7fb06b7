package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/proxy"
)

// A model is how a route shows in the list of models.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

type modelList struct {
	Object string  `json:"object"`
	Data   []model `json:"data"`
}

// local answers from the policy: the models that a client sees are the routes
// it is granted, whatever the backends have besides.
func (v *visit) local(match operation.Match, client *policy.Principal) error {
	if match.ID != "" {
		if _, ok := v.snapshot.Route(match.ID); !ok || !client.May(match.ID) {
			return errRouteNotFound
		}
		return v.reply(modelOf(match.ID))
	}
	list := modelList{Object: "list", Data: []model{}}
	for r := range v.snapshot.Routes() {
		if client.May(r.Name) {
			list.Data = append(list.Data, modelOf(r.Name))
		}
	}
	return v.reply(list)
}

func modelOf(route string) model {
	return model{ID: route, Object: "model", OwnedBy: "stampgate"}
}

func (v *visit) reply(body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	v.answering()
	h := v.w.Header()
	v.stamp(h, &v.result)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	v.result.Status, v.result.Outcome = http.StatusOK, proxy.OutcomeOK
	v.w.WriteHeader(http.StatusOK)
	n, _ := v.w.Write(text) // a client that has gone needs no answer
	v.result.BytesOut = int64(n)
	return nil
}
