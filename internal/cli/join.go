package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// joinOptions holds the flags of join.
type joinOptions struct {
	*options
	change
	remotePlace
	keylessOptions
	server, from string
	proxy        string
	life, wait   time.Duration
	selfRenew    bool
}

// keylessOptions holds --keyless and the flags that require it.
type keylessOptions struct {
	keyless, kubespray bool
	at, ca, static     string
}

const joinHelp = `Adds a remote named NAME. You need administrator permissions in both clusters.
After you confirm the plan, join takes three steps:

1. It creates an account in the remote, for this main region only, and requests
   a token. The account can access only the Secret that contains the keys.
2. It tests the new kubeconfig and, if it works, stores it in the source's cluster.
3. It waits until run writes the source's keys to the remote. This proves that
   run works. If the remote already has them, join requests a write.

The kubeconfig contains your context's address. If the main region's pods need a
different address, set --server. To replace the token, run join again. -o yaml
prints the objects for both clusters, without a token, and changes nothing.

With --keyless, the kubeconfig contains no credentials. The remote's API servers
(Kubernetes 1.34 or newer) accept the main region's one-hour tokens if they use the
configuration that -o config prints. run then needs --identity. The API servers
read the issuer's public keys from the main region's API server, or from a static
copy at --at, which --static writes. docs/keyless.md explains every step.

An API server cannot accept its own issuer, or https://kubernetes.default.svc,
which every cluster uses by default. join --keyless refuses both.`

func newJoin(all *options) *cobra.Command {
	o := &joinOptions{options: all}
	cmd := &cobra.Command{
		Use:   "join NAME",
		Short: "Add a remote: create its account, token, and kubeconfig",
		Long:  joinHelp,
		Example: `  fernetcast join dfw --dry-run
  fernetcast join dfw --remote-context dfw --yes --wait 5m
  fernetcast join dfw --remote-context dfw --keyless -o config`,
		Args: one("NAME", remoteName),
		RunE: o.run,
	}
	o.register(cmd)
	return cmd
}

func (o *joinOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	o.remotePlace.register(cmd, o.options)
	f.StringVar(&o.server, "server", "", "address of the remote's API server for the main region's pods (default: your context's)")
	textVar(f, &o.proxy, "proxy-url", "", "proxy to that address for the main region's pods, or '' for none (default: your context's)", proxyURL)
	periodVar(f, &o.life, "ttl", defaultLife, minLife, "lifetime of the token")
	f.BoolVar(&o.keyless, "keyless", false, "use no credentials: the remote trusts the tokens of --identity (default: "+defaultIdentity+")")
	o.identityFlag(cmd)
	textVar(f, &o.at, "at", "", "with --keyless: https URL of a static copy of the issuer's documents (default: the issuer's own)", httpsURL)
	f.StringVar(&o.ca, "ca", "", "with --keyless: PEM file with the CA of the server at --at (default: detected)")
	f.StringVar(&o.static, "static", "", "with -o config: write the issuer's documents to this directory, to serve at --at")
	f.BoolVar(&o.kubespray, "kubespray", false, "with -o config or yaml: print the API servers' configuration as kubespray variables (2.31 or newer)")
	f.BoolVar(&o.selfRenew, "self-renew", false, "let the token request its successor, for renew --self")
	textVar(f, &o.from, "from", "", "name of this region (default: from the source's mark)", mirror.CheckRegion)
	periodVar(f, &o.wait, "wait", 2*time.Minute, 0, "how long to wait until the remote has the source's keys (0: do not wait)")
	o.change.register(cmd)
	choose(cmd, f, &o.output, "output", "o", "text, json, yaml (objects for a Git repository, without a token), or config (API server configuration for --keyless)", "text", "json", "yaml", "config")
}

// proxyURL rejects a value that can't be a proxy-url.
func proxyURL(value string) error { return checkCluster(&clientcmdapi.Cluster{ProxyURL: value}) }

// httpsURL rejects a URL with another scheme, a user, a query, or a fragment.
func httpsURL(value string) error {
	if !strings.HasPrefix(value, "https://") || mirror.Address(value) != value {
		return errors.New("must start with https://, and contain only a host, a port, and a path")
	}
	return nil
}

// validate rejects invalid combinations of flags before join reads anything.
func (o *joinOptions) validate(cmd *cobra.Command) error {
	prints := o.output == "config" || o.output == "yaml"
	switch {
	case o.keyless && (o.selfRenew || cmd.Flags().Changed("ttl")):
		return errors.New("--ttl and --self-renew cannot be combined with --keyless, which creates no token")
	case !o.keyless && (o.output == "config" || o.kubespray || o.at != "" || o.ca != "" || o.static != ""):
		return errors.New("-o config, --kubespray, --at, --ca, and --static require --keyless")
	case o.kubespray && !prints, o.static != "" && (o.output != "config" || o.dryRun):
		return errors.New("--kubespray and --static require -o config, and --static cannot be combined with --dry-run")
	case prints:
		return nil
	}
	return o.requireTerminal(cmd)
}

func (o *joinOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.validate(cmd); err != nil {
		return err
	}
	if o.keyless {
		o.identity = cmp.Or(o.identity, defaultIdentity)
	}
	j, err := o.prepare(cmd, args[0])
	if err != nil {
		return err
	}
	var text []byte
	switch o.output {
	case "config":
		text, err = j.Trust.Configuration(o.kubespray)
	case "yaml":
		text, err = j.Documents(cmd.Context(), o.kubespray)
	default:
		return j.carryOut(cmd)
	}
	if err != nil {
		return err
	}
	return printed(cmd, "yaml", nil, string(text))
}

// joining is one run of join.
type joining struct {
	*joinOptions
	*session
	access.Join
}

// prepare determines the account, the address, and the clients for the join.
func (o *joinOptions) prepare(cmd *cobra.Command, name string) (*joining, error) {
	there, err := o.place(name, kubeconfig.Config{})
	if err != nil {
		return nil, err
	}
	s, err := o.session(cmd)
	if err != nil {
		return nil, err
	}
	stored, err := s.stored()
	if err != nil {
		return nil, err
	}
	region, err := o.begin(cmd.Context(), s)
	if err != nil {
		return nil, err
	}
	operator, err := o.apis(there.config)
	if err != nil {
		return nil, err
	}
	defer operator.Close()
	say := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), advise(cmd, line)) }
	given := cmd.Flags().Changed("proxy-url")
	if given {
		there.proxy = o.proxy
	}
	k, err := access.NewKubeconfig(cmd.Context(), access.Cluster{APIs: operator, Context: there.context}, there.proxy, given, o.server, say)
	if err != nil {
		return nil, err
	}
	k.Remote, k.Namespace, k.Account = name, o.namespace, access.AccountOf(region, o.secret)
	cfg := rest.CopyConfig(there.config)
	cfg.Host = k.Server
	remote, err := o.apis(cfg)
	if err != nil {
		return nil, err
	}
	src, _ := s.source.Seen()
	j := &joining{joinOptions: o, session: s, Join: access.Join{
		Kubeconfig: k, Token: access.TokenOptions{Life: o.life, SelfRenew: o.selfRenew}, Stored: stored,
		Here: access.Cluster{APIs: s.home}, There: access.Cluster{APIs: remote, Context: there.context},
		Operator: o.byOperator(there, cfg, src), Remote: o.through(name, src), Say: say,
	}}
	if o.keyless {
		err = j.trust(cmd.Context(), region, operator)
	}
	return j, err
}

// begin reads the source, and returns this region's name.
func (o *joinOptions) begin(ctx context.Context, s *session) (string, error) {
	s.warned = true // the first join has no remotes yet
	if err := s.read(ctx); err != nil {
		return "", err
	}
	if err := s.source.Err(); err != nil {
		return "", refused(fmt.Errorf("the source cannot be read: %s", o.unread(err)))
	}
	return s.region(o.from)
}

// trust prepares --keyless.
func (j *joining) trust(ctx context.Context, region string, operator *setup.APIs) (err error) {
	k := j.Kubeconfig
	j.Trust = &access.Trust{
		Region: region, Remote: k.Remote, At: j.at, Audience: k.Server,
		HomeNamespace: j.namespace, Account: j.identity, Namespace: k.Namespace, Secret: j.secret,
	}
	if j.ca != "" {
		if j.Trust.CA, err = os.ReadFile(j.ca); err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
	}
	return refused(j.Trust.Complete(ctx, j.home, operator, j.static, j.requestTimeout, j.Say))
}
