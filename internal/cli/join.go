package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
)

const (
	// defaultLife is the default lifetime of a token.
	defaultLife = 90 * 24 * time.Hour
	// minLife is the API server's minimum for a TokenRequest.
	minLife = 10 * time.Minute
)

// joinOptions holds the flags of join.
type joinOptions struct {
	*options
	change
	remotePlace
	keylessOptions
	server, from string
	life, wait   time.Duration
	selfRenew    bool
}

// keylessOptions holds --keyless and the flags that require it.
type keylessOptions struct {
	keyless, kubespray bool
	at, ca, static     string
}

const joinHelp = `Adds a remote named NAME. You need administrator permissions in both clusters.
join shows its plan and asks for confirmation. Then it does the following:

1. It creates an account in the remote, for this main region only, and requests
   a token. The account can access only the Secret that contains the keys.
2. It tests the new kubeconfig and, if it works, stores it in the source's cluster.
3. It waits until the remote has the source's keys. Only run or push writes them,
   so this also proves that the pods can reach the remote.

The kubeconfig contains your context's address. If the main region's pods need a
different address, set --server. To replace the token, run join again. -o yaml
prints the objects for both clusters, without a token, and changes nothing.

With --keyless, no credentials are stored. The remote's API servers (Kubernetes
1.34 or newer) accept the main region's one-hour tokens if they use the
configuration that -o config prints. run then needs --identity. The API servers
read the issuer's public keys from the main region's API server, or from a static
copy at --at. --static writes that copy. docs/keyless.md explains every step.

join --keyless refuses an issuer that the remote's API server cannot accept: the
remote's own issuer, or https://kubernetes.default.svc, which every cluster has.`

func newJoin(all *options) *cobra.Command {
	o := &joinOptions{options: all}
	cmd := &cobra.Command{
		Use:   "join NAME --remote-context CONTEXT",
		Short: "Add a remote: create its account, token, and kubeconfig",
		Long:  joinHelp,
		Example: `  fernetcast join dfw --remote-context dfw --dry-run
  fernetcast join dfw --remote-context dfw --yes --wait 5m
  fernetcast join dfw --remote-context dfw --keyless -o config`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("join requires exactly one NAME, the remote's name")
			}
			return o.run(cmd, args[0])
		},
	}
	o.register(cmd)
	return cmd
}

func (o *joinOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	o.remotePlace.register(cmd)
	f.StringVar(&o.server, "server", "", "address of the remote's API server for the main region's pods (default: your context's)")
	periodVar(f, &o.life, "ttl", defaultLife, "lifetime of the token")
	f.BoolVar(&o.keyless, "keyless", false, "store no credentials: the remote trusts the tokens of --identity (default: "+defaultIdentity+")")
	o.identityFlag(cmd)
	f.StringVar(&o.at, "at", "", "with --keyless: https URL of a static copy of the issuer's documents (default: the issuer's own)")
	f.StringVar(&o.ca, "ca", "", "with --keyless: PEM file with the CA of the server at --at (default: detected)")
	f.StringVar(&o.static, "static", "", "with -o config: write the issuer's documents to this directory, to serve at --at")
	f.BoolVar(&o.kubespray, "kubespray", false, "with -o config or yaml: print the API servers' configuration as kubespray variables (2.31 or newer)")
	f.BoolVar(&o.selfRenew, "self-renew", false, "let the token request its successor, for renew --self")
	f.StringVar(&o.from, "from", "", "name of this region (default: from the source's mark)")
	periodVar(f, &o.wait, "wait", 2*time.Minute, "how long to wait until the remote has the source's keys (0: do not wait)")
	o.change.register(cmd)
	choose(cmd, f, &o.output, "output", "o", "text, json, yaml (objects for a Git repository, without a token), or config (API server configuration for --keyless)", "text", "json", "yaml", "config")
}

// check rejects invalid combinations of flags before join reads anything.
func (o *joinOptions) check(cmd *cobra.Command, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	prints := o.output == "config" || o.output == "yaml"
	switch {
	case o.life < minLife:
		return fmt.Errorf("--ttl %s: the minimum is %s", readable(o.life), readable(minLife))
	case o.wait < 0:
		return fmt.Errorf("--wait %s: must not be negative", readable(o.wait))
	case o.keyless && (o.selfRenew || cmd.Flags().Changed("ttl")):
		return errors.New("--keyless stores no token: remove --ttl and --self-renew")
	case !o.keyless && (o.output == "config" || o.kubespray || o.at != "" || o.ca != "" || o.static != ""):
		return errors.New("-o config, --kubespray, --at, --ca, and --static require --keyless")
	case o.kubespray && !prints, o.static != "" && (o.output != "config" || o.dryRun):
		return errors.New("--kubespray and --static require -o config, and --static allows no --dry-run")
	case o.at != "" && !strings.HasPrefix(o.at, "https://"):
		return fmt.Errorf("--at %q: must start with https://", mirror.Printable(o.at))
	}
	if o.from != "" {
		if err := mirror.CheckRegion(o.from); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
	}
	if _, err := o.entries(); err != nil {
		return err
	}
	return requireTerminal(cmd, o.yes || o.dryRun || prints)
}

func (o *joinOptions) run(cmd *cobra.Command, name string) error {
	if err := o.check(cmd, name); err != nil {
		return err
	}
	there, err := o.there()
	switch {
	case o.remoteContext == "":
		return fmt.Errorf("--remote-context, your kubectl context for %s, is required: %w", name, err)
	case err != nil:
		return fmt.Errorf("--remote-context: %w", err)
	}
	if o.keyless {
		o.identity = cmp.Or(o.identity, defaultIdentity)
	}
	s, err := o.session(cmd)
	if err != nil {
		return err
	}
	s.warned = true // the first join has no remotes yet
	if err := s.read(cmd.Context()); err != nil {
		return err
	}
	j, err := o.prepare(cmd, s, name, there)
	if err != nil {
		return err
	}
	if o.output == "config" {
		return j.printConfig(cmd.OutOrStdout())
	}
	if o.output == "yaml" {
		var refusal access.Refusal
		err := j.Identify(cmd.Context())
		if errors.As(err, &refusal) {
			return err
		}
		if err != nil {
			j.Say(fmt.Sprintf("Warning: cannot identify the cluster of %s, so its kubeconfig does not contain the cluster's UID: %v", name, err))
		}
		return j.printObjects(cmd.OutOrStdout())
	}
	return j.carryOut(cmd)
}

// region returns this region's name: given, or the name in the source's mark if given is "".
func (o *options) region(src mirror.Source, given string) (string, error) {
	switch {
	case given != "":
		return given, nil
	case src.State() == mirror.SourceMain:
		return src.Owner().Region, nil
	}
	return "", fmt.Errorf("cannot determine this region's name, because Secret %s/%s lacks the main region's mark: promote this region first, or specify its name in Keystone's catalog: --from REGION", o.namespace, o.secret)
}

// joining is one run of join.
type joining struct {
	*joinOptions
	*session
	access.Join
}

// prepare determines the account, the address, and the clients for the join.
func (o *joinOptions) prepare(cmd *cobra.Command, s *session, name string, there place) (*joining, error) {
	ctx := cmd.Context()
	src, _ := s.source.Seen()
	if err := s.source.Err(); err != nil {
		return nil, exitError{fmt.Errorf("nothing was changed: the source cannot be read: %s", mirror.Explain(err))}
	}
	region, err := o.region(src, o.from)
	if err != nil {
		return nil, err
	}
	say := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
	k, cfg, err := o.address(ctx, name, there, say)
	if err != nil {
		return nil, err
	}
	k.Account = access.AccountOf(region, o.secret)
	here, err := o.stored()
	if err != nil {
		return nil, err
	}
	remote, err := o.apis(cfg)
	if err != nil {
		return nil, err
	}
	trust, err := o.trust(ctx, k, region, here, there.config, say)
	if err != nil {
		return nil, err
	}
	return &joining{joinOptions: o, session: s, Join: access.Join{
		Kubeconfig: k, Token: access.TokenOptions{Life: o.life, SelfRenew: o.selfRenew}, Trust: trust,
		Here:     access.Cluster{APIs: here.apis, Server: here.home.Host},
		There:    access.Cluster{APIs: remote, Context: there.context, Server: k.Server, CA: k.TLS.CAData},
		Stored:   access.Stored{Kubeconfigs: here.entries, Tokens: here.tokens},
		Operator: o.byOperator(there.context, cfg, src),
		Remote:   o.examined(name, src), Say: say,
	}}, nil
}

// trust returns what the remote must trust, or nil without --keyless.
func (o *joinOptions) trust(ctx context.Context, k kubeconfig.Config, region string, here stored, there *rest.Config, say func(string)) (*access.Trust, error) {
	if !o.keyless {
		return nil, nil
	}
	issuer, err := here.apis.Issuer(ctx)
	if err != nil {
		return nil, exitError{fmt.Errorf("nothing was changed: reading the main region's issuer: %s", mirror.Explain(err))}
	}
	t := &access.Trust{
		Region: region, Remote: k.Remote, Issuer: issuer.URL, At: o.at, Audience: k.Server,
		HomeNamespace: o.namespace, Account: o.identity, Namespace: k.Namespace, Secret: o.secret,
	}
	found, err := o.issuerOf(ctx, there)
	if err != nil {
		say(fmt.Sprintf("Warning: cannot verify that %s has a different issuer: %s", k.Remote, mirror.Explain(err)))
	}
	if err := t.Check(found.URL); err != nil {
		return nil, err
	}
	if at := cmp.Or(o.at, issuer.URL); o.static != "" {
		if err := access.WriteStatic(o.static, at, issuer); err != nil {
			return nil, exitError{fmt.Errorf("--static: %w", err)}
		}
		say(fmt.Sprintf("Wrote the documents of issuer %s to %s. Serve them at %s.", issuer.URL, o.static, at))
	}
	cas, err := o.cas(here.home)
	if err != nil {
		return nil, err
	}
	return t, t.FindCA(ctx, cas, issuer, o.requestTimeout, say)
}

// cas returns the candidate CAs for the server with the issuer's documents: --ca, or the
// system's CAs (nil) and the CA of the main region's API server.
func (o *joinOptions) cas(home *rest.Config) ([][]byte, error) {
	if o.ca != "" {
		given, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		return [][]byte{given}, nil
	}
	own, err := caOf(home)
	if err != nil || own == nil {
		return [][]byte{nil}, nil
	}
	return [][]byte{nil, own}, nil
}

// examined returns a function that parses a kubeconfig the way run does.
func (o *options) examined(name string, source mirror.Source) func(encoded []byte) preflight.Remote {
	return func(encoded []byte) preflight.Remote {
		return o.target(clusters.File{Name: name, Data: encoded}, source)
	}
}
