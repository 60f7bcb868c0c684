package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fernetcast/fernetcast/e2e/keystone"
)

// identity is a Keystone in each region, the main's first; nil where none is installed.
type identity []*keystone.Region

// openIdentity starts the Keystones on the keys that the regions have. The
// stage's env removes them.
func (s *stage) openIdentity(ctx context.Context, view *screen) (identity, error) {
	if err := keystone.Installed(); err != nil {
		view.say("No tokens are shown. %v", err)
		return nil, nil
	}
	view.say("Starting a Keystone in each region, over one database.")
	cloud, err := keystone.Open(ctx, s.env)
	if err != nil {
		return nil, err
	}
	names := append([]string{mainRegion}, remoteRegions()...)
	all := make(identity, len(names))
	starting, starts := errgroup.WithContext(ctx)
	for i, name := range names {
		starting.Go(func() (err error) {
			all[i], err = cloud.Region(context.WithoutCancel(starts), s.env.Cluster(name), namespace, maxActive)
			return err
		})
	}
	err = starting.Wait()
	return all, err
}

// stop ends the Keystones.
func (all identity) stop() {
	for _, region := range all {
		if region != nil {
			region.Stop()
		}
	}
}

// show has the main sign a token, and every region say what it is worth there.
// The error is that it is refused somewhere.
func (all identity) show(ctx context.Context, view *screen) error {
	token, err := all[0].Issue(ctx)
	if err != nil {
		return err
	}
	var said []string
	refused := 0
	for _, region := range all {
		answer, err := region.Validate(ctx, token)
		if err != nil {
			return err
		}
		if answer.Status == http.StatusOK {
			said = append(said, region.Name+" accepted")
			continue
		}
		refused++
		said = append(said, fmt.Sprintf("%s REFUSED (%d)", region.Name, answer.Status))
	}
	view.event("a token of %s, signed with key %d: %s", token.Region, token.Index, strings.Join(said, ", "))
	if refused > 0 {
		return fmt.Errorf("a token of %s was refused in %d regions", token.Region, refused)
	}
	return nil
}
