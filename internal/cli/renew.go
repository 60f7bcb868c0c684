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

// renewOptions are the flags of renew alone.
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
		Short: "Give remotes new tokens, before the old ones expire",
		Long: `Gives each remote whose token has less than a third of its life left a new one,
with an operator's rights there: by --remote-context, else by the context of the
remote's name, else by one that leads to its address. NAME or --all: however much
is left. A new token is used before it is stored; where anything fails the old
one stays, and the exit code is 1. The program in the main takes a new token
without a restart.

With --self each token asks for the next one itself, which manifests/remote/
self-renew allows: for the CronJob of manifests/renew. It reads the kubeconfigs
from a directory, and writes only the Secret fernetcast-tokens.`,
		Example: `  fernetcast renew
  fernetcast renew dfw --ttl 720h
  fernetcast renew --all --dry-run`,
		ValidArgsFunction: o.completeRemotes,
		RunE:              o.run,
	}
	f := cmd.Flags()
	o.remotePlace.register(cmd)
	f.DurationVar(&o.life, "ttl", usualLife, "how long the tokens are to live")
	f.BoolVar(&o.all, "all", false, "all remotes, however much of their tokens' life is left")
	f.BoolVar(&o.self, "self", false, "by the present tokens, into Secret fernetcast-tokens")
	f.StringVar(&o.tokens, "tokens", defaultTokens, "with --self: directory of the tokens that it has kept before")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, and end")
	choose(cmd, f, &o.output, "output", "o", "text or json", "text", "json")
	return cmd
}

// renewed is what became of one remote's token, as -o json has it.
type renewed struct {
	Name string `json:"name"`
	// Action is kept, renew (in a dry run), renewed or failed.
	Action  string     `json:"action"`
	Detail  string     `json:"detail"`
	Expires *time.Time `json:"expires"`
}

func (o *renewOptions) check(names []string) error {
	switch {
	case o.life < shortestLife:
		return fmt.Errorf("--ttl %s: an API server grants no token of less than %s", o.life, shortestLife)
	case o.all && len(names) > 0:
		return errors.New("--all is in place of NAMEs")
	case o.self && (o.remoteContext != "" || o.remoteKubeconfig != ""):
		return errors.New("--self asks by the present tokens, and takes no --remote-context")
	case o.self && strings.HasPrefix(o.clusters, secretPrefix):
		return fmt.Errorf("--clusters %q: --self takes a directory; mount the Secret", o.clusters)
	case o.remoteContext != "" && len(names) != 1:
		return errors.New("--remote-context is of one remote: name it")
	}
	return nil
}

func (o *renewOptions) run(cmd *cobra.Command, names []string) error {
	if err := o.check(names); err != nil {
		return err
	}
	if _, err := o.session(cmd); err != nil { // the flags of all
		return err
	}
	if o.self {
		return o.renewSelf(cmd, names)
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
	return o.renew(cmd, clusters.Files(stored), names, func(f clusters.File) store {
		return func(ctx context.Context, now []byte, _ string) error {
			if err := here.entries.Store(ctx, access.Change{Entry: kubeconfig.EntryOf(stored, f.Name), Was: f.Data, Now: now}); err != nil {
				return fmt.Errorf("storing it in Secret %s/%s: %s", o.namespace, here.entries.Name(), mirror.Explain(err))
			}
			return here.tokens.Remove(ctx, f.Name)
		}
	})
}

// renew renews the tokens of the remotes that were named, or of all, at once. keep says
// how a new token is stored.
func (o *renewOptions) renew(cmd *cobra.Command, files []clusters.File, names []string, keep func(clusters.File) store) error {
	var known []string
	for _, f := range files {
		known = append(known, f.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no remote %q; there are: %s", name, strings.Join(known, ", "))
		}
	}
	files = slices.DeleteFunc(files, func(f clusters.File) bool { return len(names) > 0 && !slices.Contains(names, f.Name) })
	results := make([]renewed, len(files))
	var all sync.WaitGroup
	for i, f := range files {
		all.Go(func() {
			results[i] = renewed{Name: f.Name, Action: "failed"}
			if f.Err != nil {
				results[i].Detail = f.Err.Error()
				return
			}
			results[i] = o.one(cmd.Context(), f.Name, f.Data, len(names) > 0 || o.all, keep(f))
		})
	}
	all.Wait()
	return printRenewed(cmd.OutOrStdout(), o.output, results)
}

// store keeps a new token.
type store = func(ctx context.Context, kubeconfig []byte, token string) error

// by is who asks for the new token, and how that is called.
func (o *renewOptions) by(name string, kubeconfig []byte, server string) (*setup.APIs, string, error) {
	if o.self {
		apis, _, err := o.reach(name, kubeconfig)
		return apis, "by its present token", err
	}
	there, err := o.wayTo(name, server)
	if err == nil && there.config == nil {
		err = errors.New("your kubeconfig has no context of it: fernetcast renew " + name + " --remote-context CONTEXT")
	}
	if err != nil {
		return nil, "", err
	}
	apis, err := o.apis(there.config)
	return apis, "by context " + there.context, err
}

// one renews one remote's token, where it is due or was asked for.
func (o *renewOptions) one(ctx context.Context, name string, data []byte, asked bool, keep store) renewed {
	k, err := kubeconfig.Decode(data)
	if err != nil {
		return renewed{Name: name, Action: "failed", Detail: err.Error()}
	}
	if k.Keyless() {
		return renewed{Name: name, Action: "kept", Detail: "no credentials are stored, so there is nothing to renew"}
	}
	token := kube.ReadToken(k.Token)
	if !asked && !access.Due(token, time.Now()) {
		r := renewed{Name: name, Action: "kept", Detail: "its token does not tell when it expires"}
		if left, ok := token.Left(time.Now()); ok {
			r.Detail, r.Expires = fmt.Sprintf("%.0f %% of its life is left", 100*left), &token.Expires
		}
		return r
	}
	by, how, err := o.by(name, data, k.Server)
	if err != nil {
		return renewed{Name: name, Action: "failed", Detail: err.Error()}
	}
	defer by.Close()
	if o.dryRun {
		return renewed{Name: name, Action: "renew", Detail: how}
	}
	expires, note, err := access.Renewal{Remote: name, Kubeconfig: data, Life: o.life, Open: o.reach, Self: o.self, Store: keep}.Run(ctx, by)
	if err != nil {
		return renewed{Name: name, Action: "failed", Detail: err.Error()}
	}
	return renewed{Name: name, Action: "renewed", Detail: note, Expires: &expires}
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
