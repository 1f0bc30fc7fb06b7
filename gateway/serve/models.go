package serve

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
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

// models answers from the policy: the routes that the client may use.
func (v *visit) models() error {
	v.answered = true
	if id := v.match.ID; id != "" {
		if _, ok := v.snapshot.Route(id); !ok || !v.caller.May(id) {
			return refusal.New(refusal.RouteNotFound)
		}
		return v.reply(modelOf(id))
	}
	list := modelList{Object: "list", Data: []model{}}
	for r := range v.snapshot.Routes() {
		if v.caller.May(r.Name) {
			list.Data = append(list.Data, modelOf(r.Name))
		}
	}
	return v.reply(list)
}

// reply answers with our own JSON.
func (v *visit) reply(body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r := &v.result
	r.Status, r.Outcome = http.StatusOK, relay.OutcomeOK
	_ = v.client.SetWriteDeadline(time.Now().Add(v.WriteTimeout)) // in-memory clients of tests have none
	r.BytesOut = answerJSON(v.client, http.StatusOK, v.ownFields(make(message.Header, 0, 16), r), text)
	return nil
}

func modelOf(route string) model {
	return model{ID: route, Object: "model", OwnedBy: "stampgate"}
}
