package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// identity has a Keystone for each region, the main region first. It is nil if Keystone is not
// installed.
type identity []*keystone.Region

// witness is a Keystone that validates tokens.
type witness struct {
	name     string
	validate func(context.Context, keystone.Token) (int, error) // returns the HTTP status
	ours     bool                                               // whether it gets its keys from `fernetcast files`, so that it must accept every token
}

// openIdentity starts a Keystone with each region's keys. Closing the stage's Env removes their
// data.
func (s *stage) openIdentity(ctx context.Context, view *screen) error {
	if err := keystone.Installed(); err != nil {
		view.say("Skipping the tokens: %v", err)
		return nil
	}
	view.say("Starting a Keystone with fernetcast files in each region. All share one database.")
	cloud, err := keystone.Open(ctx, s.env)
	if err != nil {
		return err
	}
	names := append([]string{mainRegion}, remoteRegions()...)
	s.tokens = make(identity, len(names))
	starting, starts := errgroup.WithContext(ctx)
	for i, name := range names {
		starting.Go(func() (err error) {
			reader := "files-" + name
			if err := s.kubeconfig(ctx, s.env.Cluster(name), testenv.SidecarRole, reader); err != nil {
				return err
			}
			files := s.program.With("--kubeconfig", s.path(reader), "--namespace", namespace)
			s.tokens[i], err = cloud.RegionWithFiles(starts, s.env.Cluster(name), namespace, maxActive, files)
			return err
		})
	}
	if err := starting.Wait(); err != nil {
		return err
	}
	return s.openPods(ctx, view, cloud)
}

// stop stops the Keystones.
func (all identity) stop() {
	for _, region := range all {
		if region != nil {
			region.Stop()
		}
	}
}

// witnesses returns a witness for each Keystone.
func (all identity) witnesses() (each []witness) {
	for _, region := range all {
		each = append(each, witness{region.Name, func(ctx context.Context, token keystone.Token) (int, error) {
			answer, err := region.Validate(ctx, token)
			return answer.Status, err
		}, true})
	}
	return each
}

// show waits until the main region signs tokens with the new primary, and validates such a token
// with every Keystone. It prints the results and the time since keystone-manage ended. It returns
// an error if a Keystone with `fernetcast files` rejects the token.
func (s *stage) show(ctx context.Context, view *screen, rotation testenv.Rotation) error {
	index := rotation.Keys.Primary()
	primary := string(rotation.Keys[strconv.Itoa(index)])
	var token keystone.Token
	err := testenv.Until(ctx, 5*time.Millisecond, func(ctx context.Context) (err error) {
		if token, err = s.tokens[0].Issue(ctx); err == nil {
			_, err = keystone.Reseal(token.Text, primary, primary)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting for %s to sign with key %d: %w", mainRegion, index, err)
	}
	var said []string
	refused := 0
	for _, w := range slices.Concat(s.tokens.witnesses(), s.pods.witnesses()) {
		status, err := w.validate(ctx, token)
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			said = append(said, w.name+" accepted")
			continue
		}
		if w.ours {
			refused++
		}
		said = append(said, fmt.Sprintf("%s REJECTED (%d)", w.name, status))
	}
	view.event("%s after keystone-manage ended, a token signed with key %d: %s", milliseconds(time.Since(rotation.Sent)), index, strings.Join(said, ", "))
	if refused > 0 {
		return fmt.Errorf("a token from %s was rejected by %d Keystones with fernetcast files", token.Region, refused)
	}
	return nil
}
