package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/spf13/cobra"
)

// renewOptions holds the flags of renew.
type renewOptions struct {
	*options
	remotePlace
	output, tokens    string
	life              time.Duration
	all, self, dryRun bool
}

func newRenew(all *options) *cobra.Command {
	o := &renewOptions{options: all}
	cmd := &cobra.Command{
		Use:   "renew [NAME...]",
		Short: "Replace remotes' tokens before they expire",
		Long: `Replaces tokens that have less than a third of their lifetime left. If you name
remotes or add --all, it replaces their tokens in any case. It uses your
credentials for the remote: --remote-context or, by default, the context that has
the remote's name or address. It tests a new token before it stores it. If a step
fails, the old token stays and the exit code is 1. run picks up a new token
without a restart.

With --self, each token requests its own successor, which
manifests/remote/self-renew permits. This is for the CronJob in manifests/renew.
It reads the kubeconfigs from a directory and writes only the Secret
fernetcast-tokens.`,
		Example: `  fernetcast renew
  fernetcast renew dfw --ttl 30d
  fernetcast renew --all --dry-run`,
		ValidArgsFunction: o.completeRemotes,
		RunE:              o.run,
	}
	f := cmd.Flags()
	o.remotePlace.register(cmd)
	periodVar(f, &o.life, "ttl", defaultLife, "lifetime of the tokens")
	f.BoolVar(&o.all, "all", false, "renew all tokens, even if they expire later")
	f.BoolVar(&o.self, "self", false, "use the current tokens, and store new ones in the Secret fernetcast-tokens")
	f.StringVar(&o.tokens, "tokens", defaultTokens, "with --self: directory where the Secret fernetcast-tokens is mounted")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and exit")
	choose(cmd, f, &o.output, "output", "o", "text or json", "text", "json")
	return cmd
}

// renewed is the result for one remote, as in the document that -o json prints.
type renewed struct {
	Name string `json:"name"`
	// Action is kept, renewed, failed, or renew (in a dry run).
	Action  string     `json:"action"`
	Detail  string     `json:"detail"`
	Expires *time.Time `json:"expires"`
}

func (o *renewOptions) check(names []string) error {
	switch {
	case o.life < minLife:
		return fmt.Errorf("--ttl %s: the minimum is %s", readable(o.life), readable(minLife))
	case o.all && len(names) > 0:
		return errors.New("--all cannot be combined with NAME")
	case o.self && (o.remoteContext != "" || o.remoteKubeconfig != ""):
		return errors.New("--self cannot be combined with --remote-context or --remote-kubeconfig")
	case o.self && strings.HasPrefix(o.clusters, secretPrefix):
		return fmt.Errorf("--clusters %q: --self requires a directory; mount the Secret", o.clusters)
	case o.remoteContext != "" && len(names) != 1:
		return errors.New("--remote-context requires exactly one NAME")
	}
	return nil
}

func (o *renewOptions) run(cmd *cobra.Command, names []string) error {
	if err := o.check(names); err != nil {
		return err
	}
	s, err := o.session(cmd)
	if err != nil {
		return err
	}
	if o.self {
		return o.renewSelf(cmd, s, names)
	}
	here, err := o.stored()
	if err != nil {
		return err
	}
	defer here.apis.Close()
	stored, err := here.entries.Read(cmd.Context())
	if err != nil {
		return exitError{fmt.Errorf("nothing was changed: reading the stored kubeconfigs: %s", mirror.Explain(err))}
	}
	return o.renew(cmd, s, clusters.Files(stored), names, func(ctx context.Context, f clusters.File, now []byte, _ string) error {
		if err := o.keep(ctx, here.entries, access.Change{Entry: kubeconfig.EntryOf(stored, f.Name), Was: f.Data, Now: now}); err != nil {
			return err
		}
		return here.tokens.Remove(ctx, f.Name)
	})
}

// keep stores a change of one entry, and adds the Secret's name to errors.
func (o *options) keep(ctx context.Context, entries access.Entries, change access.Change) error {
	if err := entries.Store(ctx, change); err != nil {
		return fmt.Errorf("storing it in Secret %s/%s: %s", o.namespace, entries.Name(), mirror.Explain(err))
	}
	return nil
}

// A store stores a remote's new token, either in the kubeconfig or separately.
type store = func(ctx context.Context, f clusters.File, kubeconfig []byte, token string) error

// renew renews the tokens of the named remotes, or of all, concurrently.
func (o *renewOptions) renew(cmd *cobra.Command, s *session, files []clusters.File, names []string, keep store) error {
	s.set.Apply(files)
	chosen, err := s.choose(names)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f clusters.File) bool { return !slices.Contains(chosen, f.Name) })
	results := make([]renewed, len(files))
	var all sync.WaitGroup
	for i, f := range files {
		all.Go(func() {
			r, err := o.renewOne(cmd.Context(), f, len(names) > 0 || o.all, keep)
			if err != nil {
				r = renewed{Action: "failed", Detail: err.Error()}
			}
			r.Name = f.Name
			results[i] = r
		})
	}
	all.Wait()
	return printRenewed(cmd.OutOrStdout(), o.output, results)
}

// by returns the clients that request the new token, and describes them for the plan.
func (o *renewOptions) by(f clusters.File, server string) (*setup.APIs, string, error) {
	if o.self {
		apis, err := o.apis(o.target(f, mirror.Source{}).Config)
		return apis, "with its current token", err
	}
	there, err := o.contextFor(f.Name, server)
	if err == nil && there.config == nil {
		err = errors.New("your kubeconfig has no context for it: fernetcast renew " + f.Name + " --remote-context CONTEXT")
	}
	if err != nil {
		return nil, "", err
	}
	apis, err := o.apis(there.config)
	return apis, "with context " + there.context, err
}

// renewOne renews one remote's token if it is due or asked is set.
func (o *renewOptions) renewOne(ctx context.Context, f clusters.File, asked bool, keep store) (renewed, error) {
	if f.Err != nil {
		return renewed{}, f.Err
	}
	if o.self { // with the same rules as run
		if _, err := kubeconfig.Parse(f.Data, true); err != nil {
			return renewed{}, err
		}
	}
	k, err := kubeconfig.Decode(f.Data)
	if err != nil {
		return renewed{}, err
	}
	if k.Keyless() {
		return renewed{Action: "kept", Detail: "no credentials are stored, so there is nothing to renew"}, nil
	}
	present := f.Bearer(k.Token)
	token := kube.ReadToken(present)
	if !asked && !access.Due(token, time.Now()) {
		left, ok := token.Left(time.Now())
		if !ok {
			return renewed{Action: "kept", Detail: "its token has no known expiry"}, nil
		}
		return renewed{Action: "kept", Detail: fmt.Sprintf("%.0f%% of its lifetime is left", 100*left), Expires: &token.Expires}, nil
	}
	by, how, err := o.by(f, k.Server)
	if err != nil {
		return renewed{}, err
	}
	defer by.Close()
	if o.dryRun {
		return renewed{Action: "renew", Detail: how}, nil
	}
	now, given, err := access.Renewal{
		Name: f.Name, Kubeconfig: f.Data, Token: present, Life: o.life, Self: o.self, Remote: o.examined(f.Name, mirror.Source{}),
	}.Make(ctx, by)
	if err == nil {
		err = keep(ctx, f, now, given.Token)
	}
	return renewed{Action: "renewed", Detail: given.Note, Expires: &given.Expires}, err
}

func printRenewed(out io.Writer, format string, results []renewed) error {
	if format == "json" {
		if err := json.NewEncoder(out).Encode(map[string]any{"remotes": results}); err != nil {
			return err
		}
	}
	var verdict error
	for _, r := range results {
		if r.Action == "failed" {
			verdict = exitError{}
		}
		if format == "json" {
			continue
		}
		line := r.Name + ": " + r.Action
		if r.Expires != nil {
			line += ", expires at " + r.Expires.Format(time.RFC3339)
		}
		if r.Detail != "" {
			line += ": " + r.Detail
		}
		fmt.Fprintln(out, line)
	}
	if len(results) == 0 && format == "text" {
		fmt.Fprintln(out, "There are no remotes.")
	}
	return verdict
}
