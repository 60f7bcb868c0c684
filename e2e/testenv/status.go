package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Status is the JSON document that `status -o json` and /statusz return. A value that is null there
// is nil here.
type Status struct {
	Source  SourceStatus   `json:"source"`
	Remotes []RemoteStatus `json:"remotes"`
}

// SourceStatus is the status of the source.
type SourceStatus struct {
	Region          string            `json:"region"`
	Term            *int              `json:"term"`
	Namespace       string            `json:"namespace"`
	Secret          string            `json:"secret"`
	ResourceVersion string            `json:"resourceVersion"`
	State           string            `json:"state"`
	Detail          string            `json:"detail"`
	Primary         *int              `json:"primary"`
	Staged          *bool             `json:"staged"`
	RotatedAt       *time.Time        `json:"rotatedAt"`
	Keys            map[string]string `json:"keys"`
}

// RemoteStatus is the status of one remote.
type RemoteStatus struct {
	Name                  string            `json:"name"`
	Namespace             string            `json:"namespace"`
	Server                string            `json:"server"`
	State                 string            `json:"state"`
	Reason                string            `json:"reason"`
	Detail                string            `json:"detail"`
	Primary               *int              `json:"primary"`
	Behind                *int              `json:"behind"`
	PushedResourceVersion string            `json:"pushedResourceVersion"`
	LastPushed            *time.Time        `json:"lastPushed"`
	LastSynced            *time.Time        `json:"lastSynced"`
	NextTry               *time.Time        `json:"nextTry"`
	CredentialsExpire     *time.Time        `json:"credentialsExpire"`
	Keys                  map[string]string `json:"keys"`
}

// Remote returns the status of the named remote, or nil if there is none.
func (s *Status) Remote(name string) *RemoteStatus {
	for i := range s.Remotes {
		if s.Remotes[i].Name == name {
			return &s.Remotes[i]
		}
	}
	return nil
}

// States returns the states of the remotes by name.
func (s *Status) States() map[string]string {
	states := map[string]string{}
	for _, remote := range s.Remotes {
		states[remote.Name] = remote.State
	}
	return states
}

// Status runs `status -o json` and decodes its output. The Result is valid even if the error is not
// nil.
func (p *Program) Status(ctx context.Context, args ...string) (*Status, Result, error) {
	result, err := p.Run(ctx, append([]string{"status", "-o", "json"}, args...)...)
	if err != nil {
		return nil, result, err
	}
	var status Status
	if err := json.Unmarshal([]byte(result.Stdout), &status); err != nil {
		return nil, result, fmt.Errorf("reading the status (exit %d, stderr %q): %w", result.Code, result.Stderr, err)
	}
	return &status, result, nil
}

// Statusz reads /statusz from a `run` process that listens on address (host:port).
func Statusz(ctx context.Context, address string) (*Status, error) {
	body, err := Get(ctx, "http://"+address+"/statusz")
	if err != nil {
		return nil, err
	}
	var status Status
	if err := json.Unmarshal(body, &status); err != nil {
		return nil, fmt.Errorf("reading /statusz: %w", err)
	}
	return &status, nil
}
