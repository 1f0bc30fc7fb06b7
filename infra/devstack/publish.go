package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

// publish puts a policy in force in every boundary that has none, through the
// control plane, as an operator would; what a kept state has published stays.
// It returns the clients of each boundary, with their keys.
func (s *stack) publish(ctx context.Context, cp controlPlaneReady) (map[geo.Boundary][]Client, error) {
	token, err := os.ReadFile(s.path("keys", controlPlaneTokenName))
	if err != nil {
		return nil, fmt.Errorf("read the control plane's token: %w", err)
	}
	c, err := client.New(client.Config{URL: cp.URL, Token: secret.New(strings.TrimSpace(string(token)))})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	out := map[geo.Boundary][]Client{}
	for _, b := range s.plan.Boundaries {
		clients := clientsOf()
		for i := range clients {
			if clients[i].Key, err = s.secrets.client(b.Name, clients[i].Name); err != nil {
				return nil, err
			}
		}
		if err := s.publishOne(ctx, c, b, clients); err != nil {
			return nil, fmt.Errorf("publish the policy of %s: %w", b.Name, err)
		}
		out[b.Name] = clients
	}
	return out, nil
}

func (s *stack) publishOne(ctx context.Context, c *client.Client, b boundaryPlan, clients []Client) error {
	source, err := policyOf(b, clients, s.secrets)
	if err != nil {
		return err
	}
	if err := writeFile(s.path("policies", string(b.Name)+".yaml"), source); err != nil {
		return err
	}
	status, err := c.BoundaryStatus(ctx, b.Name)
	if err != nil {
		return err
	}
	if status.Policy != nil {
		return nil
	}
	_, err = c.Publish(ctx, b.Name, source, client.PublishOptions{
		Author: "stampctl dev", Message: "first policy", ExpectSerial: new(uint64(0)),
	})
	if _, ok := errors.AsType[*client.ConflictError](err); ok {
		return nil // someone was quicker; theirs stays
	}
	return err
}
