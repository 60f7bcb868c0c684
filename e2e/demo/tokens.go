package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
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
	view.say("Starting a Keystone in each region, over one database, and fernetcast files beside each.")
	cloud, err := keystone.Open(ctx, s.env)
	if err != nil {
		return nil, err
	}
	names := append([]string{mainRegion}, remoteRegions()...)
	all := make(identity, len(names))
	starting, starts := errgroup.WithContext(ctx)
	for i, name := range names {
		starting.Go(func() (err error) {
			reader := "files-" + name
			if err := s.kubeconfig(ctx, s.env.Cluster(name), testenv.SidecarRole, reader); err != nil {
				return err
			}
			files := s.program.With("--kubeconfig", s.path(reader), "--namespace", namespace)
			all[i], err = cloud.RegionWithFiles(starts, s.env.Cluster(name), namespace, maxActive, files)
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

// show waits until the main signs with the new primary, has every region say what that
// token is worth there, and tells how long after keystone-manage's end all of that was. The
// error is that it is refused somewhere.
func (all identity) show(ctx context.Context, view *screen, rotation testenv.Rotation) error {
	index := rotation.Keys.Primary()
	primary := string(rotation.Keys[strconv.Itoa(index)])
	var token keystone.Token
	err := testenv.Until(ctx, 5*time.Millisecond, func(ctx context.Context) (err error) {
		if token, err = all[0].Issue(ctx); err == nil {
			_, err = keystone.Reseal(token.Text, primary, primary)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting for %s to sign with key %d: %w", all[0].Name, index, err)
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
	view.event("%s after keystone-manage's end, a token signed with key %d: %s", milliseconds(time.Since(rotation.Sent)), index, strings.Join(said, ", "))
	if refused > 0 {
		return fmt.Errorf("a token of %s was refused in %d regions", token.Region, refused)
	}
	return nil
}
