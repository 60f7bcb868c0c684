package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// renewOptions holds the flags of renew.
type renewOptions struct {
	*options
	remotePlace
	output, tokens    string
	from, account     string // account is this region's account in each remote
	life              time.Duration
	all, self, dryRun bool
}

func newRenew(all *options) *cobra.Command {
	o := &renewOptions{options: all}
	cmd := &cobra.Command{
		Use:   "renew [NAME...]",
		Short: "Replace remotes' tokens before they expire",
		Long: `Replaces tokens that the remote rejects or that have less than a third of their
lifetime left, or all tokens of the remotes that you name or with --all. It uses
your credentials for the remote: --remote-context or, by default, the context that
has the remote's name or address. It requests tokens only for the account that
join created for this region, and only if the stored kubeconfig has your context's
CA. It tests a new token before it stores it. If a step fails, the old token stays
and the exit code is 1. run uses a new token without a restart.

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
	o.remotePlace.register(cmd, all)
	periodVar(f, &o.life, "ttl", defaultLife, minLife, "lifetime of the tokens")
	textVar(f, &o.from, "from", "", "name of this region (default: from the source's mark)", mirror.CheckRegion)
	f.BoolVar(&o.all, "all", false, "renew the tokens of all remotes, even those that are not due")
	f.BoolVar(&o.self, "self", false, "use the current tokens, and store new ones in the Secret fernetcast-tokens")
	f.StringVar(&o.tokens, "tokens", defaultTokens, "with --self: directory where the Secret fernetcast-tokens is mounted")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and exit")
	choose(cmd, f, &o.output, "output", "o", "text or json", "text", "json")
	cmd.MarkFlagsMutuallyExclusive("self", "remote-context")
	cmd.MarkFlagsMutuallyExclusive("self", "remote-kubeconfig")
	cmd.MarkFlagsMutuallyExclusive("self", "from")
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

func (o *renewOptions) validate(names []string) error {
	switch {
	case o.all && len(names) > 0:
		return errors.New("--all cannot be combined with NAME")
	case o.self && strings.HasPrefix(o.clusters, secretPrefix):
		return fmt.Errorf("--clusters %q: --self requires a directory; mount the Secret", o.clusters)
	case o.remoteContext != "" && len(names) != 1:
		return errors.New("--remote-context requires exactly one NAME")
	}
	return nil
}

// run renews the tokens of the named remotes, or of all, concurrently.
func (o *renewOptions) run(cmd *cobra.Command, names []string) error {
	if err := o.validate(names); err != nil {
		return err
	}
	s, err := o.session(cmd)
	if err != nil {
		return err
	}
	files, keep, err := o.read(cmd.Context(), s)
	if err != nil {
		return err
	}
	if files, err = s.chooseFiles(files, names); err != nil {
		return err
	}
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
	return o.print(cmd, results)
}

// A store stores a remote's new token.
type store = func(ctx context.Context, f clusters.File, kubeconfig []byte, token string) error

// read reads the kubeconfigs. The returned store writes to the same Secret or, with --self, only to
// the Secret for tokens.
func (o *renewOptions) read(ctx context.Context, s *session) ([]clusters.File, store, error) {
	if o.self {
		return o.readSelf(ctx, s)
	}
	stored, err := s.stored()
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.source.Get(ctx); err != nil {
		return nil, nil, refused(fmt.Errorf("the source cannot be read: %s", o.unread(err)))
	}
	region, err := s.region(o.from)
	if err != nil {
		return nil, nil, err
	}
	o.account = access.AccountOf(region, o.secret)
	entries, err := stored.Kubeconfigs.Read(ctx)
	if err != nil {
		return nil, nil, refused(fmt.Errorf("reading Secret %s: %s", stored.Kubeconfigs, mirror.Explain(err)))
	}
	return clusters.Files(entries), func(ctx context.Context, f clusters.File, now []byte, _ string) error {
		if err := stored.Kubeconfigs.Store(ctx, access.Change{Entry: kubeconfig.EntryOf(entries, f.Name), Was: f.Data, Now: now}); err != nil {
			return err
		}
		return stored.Tokens.Remove(ctx, f.Name)
	}, nil
}

func (o *renewOptions) readSelf(ctx context.Context, s *session) ([]clusters.File, store, error) {
	files, err := clusters.Read(cmp.Or(o.clusters, defaultDirectory), o.tokens)
	if err != nil {
		return nil, nil, exitError{err}
	}
	tokens := access.NewEntries(s.home.Core, o.namespace, tokensSecret)
	kept, err := tokens.Read(ctx)
	if err != nil {
		return nil, nil, refused(fmt.Errorf("reading Secret %s: %s", tokens, mirror.Explain(err)))
	}
	// The mounted tokens can be older than those in the Secret.
	return clusters.WithTokens(files, kept), func(ctx context.Context, f clusters.File, _ []byte, token string) error {
		return tokens.Store(ctx, access.Change{Entry: f.Name, Was: kept[f.Name], Now: []byte(token)})
	}, nil
}

// by returns the clients that request the new token, and describes them for the plan.
func (o *renewOptions) by(f clusters.File, k kubeconfig.Config) (access.Cluster, string, error) {
	if o.self {
		apis, err := o.apis(k.ClientConfig())
		return access.Cluster{APIs: apis}, "with its current token", err
	}
	there, err := o.place(f.Name, k)
	if err != nil {
		return access.Cluster{}, "", err
	}
	apis, err := o.apis(there.config)
	return access.Cluster{APIs: apis, Context: there.context}, "with context " + there.context, err
}

// renewOne renews one remote's token if it is due or asked is set.
func (o *renewOptions) renewOne(ctx context.Context, f clusters.File, asked bool, keep store) (renewed, error) {
	if f.Err != nil {
		return renewed{}, f.Err
	}
	k, err := kubeconfig.Parse(f.Data, true)
	if err != nil {
		return renewed{}, err
	}
	if k.Keyless() {
		return renewed{Action: "kept", Detail: "no credentials are stored, so there is nothing to renew"}, nil
	}
	k.Token, _ = f.Bearer(k.Token)
	r := access.Renewal{
		Name: f.Name, Kubeconfig: k, Namespace: o.namespace, Account: o.account, Self: o.self,
		Life: o.life, Remote: o.through(f.Name, mirror.Source{}),
	}
	if !asked {
		if why, expires, err := r.Kept(ctx); why != "" || err != nil {
			return renewed{Action: "kept", Detail: why, Expires: expires}, err
		}
	}
	by, how, err := o.by(f, k)
	if err != nil {
		return renewed{}, err
	}
	defer by.Close()
	r.By = by
	if err := r.Identify(ctx); err != nil {
		return renewed{}, err
	}
	if o.dryRun {
		return renewed{Action: "renew", Detail: how}, r.Check()
	}
	now, given, err := r.Make(ctx)
	if err != nil {
		return renewed{}, err
	}
	if err := keep(ctx, f, now, given.Token); err != nil {
		return renewed{}, fmt.Errorf("storing the new token: %s", mirror.Explain(err))
	}
	given.Note = strings.TrimSpace(given.Note + " " + r.Stored(ctx, given))
	return renewed{Action: "renewed", Detail: given.Note, Expires: &given.Expires}, nil
}

func (o *renewOptions) print(cmd *cobra.Command, results []renewed) (verdict error) {
	var text strings.Builder
	for _, r := range results {
		if r.Action == "failed" {
			verdict = exitError{}
		}
		text.WriteString(r.Name + ": " + r.Action)
		if r.Expires != nil {
			text.WriteString(", expires at " + r.Expires.Format(time.RFC3339))
		}
		if r.Detail != "" {
			text.WriteString(": " + r.Detail)
		}
		text.WriteString("\n")
	}
	if len(results) == 0 {
		text.WriteString("There are no remotes.\n")
	}
	return cmp.Or(printed(cmd, o.output, map[string]any{"remotes": results}, text.String()), verdict)
}
