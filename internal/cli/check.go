package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
)

// checkOptions are the flags of check alone.
type checkOptions struct {
	*options
	remoteContext, remoteKubeconfig string
	output                          string
}

func newCheck(all *options) *cobra.Command {
	o := &checkOptions{options: all}
	cmd := &cobra.Command{
		Use:   "check [REMOTE...]",
		Short: "Examine the way to each remote, and say what to do",
		Long: `Examines each remote, or those named, a step at a time: its kubeconfig, the way
there, its certificate, clock and version, who we are there and until when, what
we may do, and what its Secret is. It changes nothing, and works also before run
was ever started.

What counts is the view of the main's pods; the first line says from where it
looks. With --remote-context it examines a context of yours, before a join.
Exit code 1: some check fails. A warning alone is exit code 0.`,
		Example: `  fernetcast check
  fernetcast check dfw -o short
  fernetcast check --remote-context dfw`,
		ValidArgsFunction: o.completeRemotes,
		RunE:              o.run,
	}
	o.remotePlace(cmd, &o.remoteContext, &o.remoteKubeconfig)
	choose(cmd, cmd.Flags(), &o.output, "output", "o", "text, short, or json", "text", "short", "json")
	o.identityFlag(cmd)
	return cmd
}

// examined is the result, as -o json has it.
type examined struct {
	From    string           `json:"from"`
	Remotes []examinedRemote `json:"remotes"`
}

type examinedRemote struct{ preflight.Examined }

func (o *checkOptions) run(cmd *cobra.Command, names []string) error {
	if o.remoteContext != "" && len(names) > 0 {
		return errors.New("--remote-context is in place of a REMOTE")
	}
	remotes, err := o.targets(cmd, names)
	if err != nil {
		return err
	}
	result := examined{From: o.viewpoint(), Remotes: make([]examinedRemote, len(remotes))}
	var all sync.WaitGroup
	for i, remote := range remotes {
		all.Go(func() { result.Remotes[i] = examinedRemote{preflight.Examine(cmd.Context(), remote)} })
	}
	all.Wait()
	if err := result.print(cmd.OutOrStdout(), o.output); err != nil {
		return err
	}
	for _, r := range result.Remotes {
		if slices.ContainsFunc(r.Checks, func(c preflight.Check) bool { return c.Result == preflight.Fail }) {
			return exitError{}
		}
	}
	return nil
}

// targets are what is to be examined.
func (o *checkOptions) targets(cmd *cobra.Command, names []string) ([]preflight.Remote, error) {
	var there place
	if o.remoteContext != "" {
		var err error
		if there, err = placeOf(o.remoteKubeconfig, o.remoteContext); err != nil {
			return nil, fmt.Errorf("--remote-context: %w", err)
		}
	}
	s, err := o.session(cmd)
	if err != nil {
		return nil, err
	}
	source, _ := s.source.Get(cmd.Context()) // unread: what needs it is left out
	if there.config != nil {
		return []preflight.Remote{o.byOperator(there.context, there.config, source)}, nil
	}
	files, err := s.files(cmd.Context())
	if err != nil {
		return nil, exitError{err}
	}
	s.set.Apply(files)
	if names, err = s.choose(names); err != nil {
		return nil, err
	}
	var remotes []preflight.Remote
	for _, f := range files {
		if slices.Contains(names, f.Name) {
			remotes = append(remotes, o.target(f, source))
		}
	}
	return remotes, nil
}

// examination is the same for all remotes.
func (o *options) examination(source mirror.Source) preflight.Options {
	return preflight.Options{Secret: o.secret, Source: source, Timeout: o.requestTimeout, UserAgent: userAgent()}
}

// byOperator is a remote by a person's own context.
func (o *options) byOperator(context string, cfg *rest.Config, source mirror.Source) preflight.Remote {
	return preflight.Remote{
		Options: o.examination(source), Name: context, Config: cfg, Namespace: o.namespace, Expires: clusters.Expiry(cfg), Operator: true,
	}
}

// target is a remote as its file says, and as run takes it.
func (o *options) target(f clusters.File, source mirror.Source) preflight.Remote {
	r := preflight.Remote{Options: o.examination(source), Name: f.Name, Refused: f.Err}
	if f.Err != nil {
		return r
	}
	mint := o.mint()
	cfg, namespace, err := clusters.ParseKubeconfig(f.Data, mint != nil)
	if err != nil {
		r.Refused = err
		return r
	}
	r.Config, r.Namespace = cfg, cmp.Or(namespace, o.namespace)
	if r.SignIn = clusters.SignIn(f.Name, cfg, mint, r.Timeout, slog.New(slog.DiscardHandler)); r.SignIn.Tokens == nil {
		cfg.BearerToken, r.TokenErr = f.Bearer(cfg.BearerToken), f.TokenErr
	}
	r.Expires = clusters.Expiry(cfg)
	return r
}

// workstation is where a person is.
const workstation = "this workstation"

// viewpoint says from where it looks.
func (o *options) viewpoint() string {
	if _, err := rest.InClusterConfig(); err == nil {
		name, _ := os.Hostname()
		return "pod " + cmp.Or(name, "of no name")
	}
	return workstation
}

func (e examined) print(out io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(out).Encode(e)
	}
	fmt.Fprintf(out, "Looking from %s.%s\n", e.From, map[bool]string{true: " What counts is the pods' view: kubectl exec deploy/keystone-api -c fernetcast -- fernetcast check"}[e.From == workstation])
	for _, r := range e.Remotes {
		if format == "short" {
			fmt.Fprintf(out, "%s  %s\n", r.Name, r.summary())
			continue
		}
		fmt.Fprintf(out, "\n%s  %s\n", r.Name, r.summary())
		for _, c := range r.Checks {
			next := ""
			if c.Next != "" {
				next = " → " + c.Next
			}
			fmt.Fprintf(out, "  %-4s  %-10s  %s%s\n", c.Result, c.ID, c.What, next)
		}
	}
	if len(e.Remotes) == 0 {
		fmt.Fprintln(out, "There are no remotes: fernetcast join NAME lets one in.")
	}
	return nil
}

// summary tells how many checks ended badly, and which.
func (r examinedRemote) summary() string {
	var parts []string
	for _, result := range []preflight.Result{preflight.Fail, preflight.Warn} {
		var ids []string
		for _, c := range r.Checks {
			if c.Result == result {
				ids = append(ids, c.ID)
			}
		}
		if len(ids) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s: %s", len(ids), result, strings.Join(ids, ", ")))
		}
	}
	return cmp.Or(strings.Join(parts, "; "), "all is well")
}
