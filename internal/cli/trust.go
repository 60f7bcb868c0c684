package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// trustOptions are the flags of trust alone.
type trustOptions struct {
	*options
	remote, server, from            string
	remoteContext, remoteKubeconfig string
	at, ca, static                  string
	kubespray                       bool
	output                          string
}

func newTrust(all *options) *cobra.Command {
	o := &trustOptions{options: all}
	cmd := &cobra.Command{
		Use:   "trust --remote NAME",
		Short: "Print what a remote needs to accept tokens of an hour",
		Long: `Prints what NAME needs to do without stored credentials: the jwt entry for the
AuthenticationConfiguration of its API servers (Kubernetes 1.34 or newer), by which
they accept this main's short-lived tokens for NAME alone, and the rights of that
user. Nothing is written. With --kubespray the entry is printed as variables of an
inventory, for Genestack. docs/keyless.md tells the whole way.

The remote reads the public keys of the main's issuer from the main's API server,
or from a static copy at --at URL, which --static DIR writes for any web server: so
a remote needs no way to the main.

It refuses where the remote's API server would not start: where the main's issuer is
the remote's own, or https://kubernetes.default.svc, which every cluster has.`,
		Example: `  fernetcast trust --remote dfw
  fernetcast trust --remote dfw --kubespray -o config`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              o.run,
	}
	f := cmd.Flags()
	o.identityFlag(cmd)
	o.remotePlace(cmd, &o.remoteContext, &o.remoteKubeconfig)
	f.StringVar(&o.remote, "remote", "", "who is to trust this main")
	complete(cmd, "remote", o.completeRemotes)
	f.StringVar(&o.server, "server", "", "address of NAME's API server as the main's pods reach it (default: that of its stored kubeconfig)")
	f.StringVar(&o.from, "from", "", "region of this main (default: that of its mark)")
	f.StringVar(&o.at, "at", "", "https address where a static copy of the issuer's documents is served (default: the issuer's own)")
	f.StringVar(&o.ca, "ca", "", "file with the CA of who serves the issuer's documents, PEM (default: one that works)")
	f.StringVar(&o.static, "static", "", "write the issuer's documents into this directory, to be served at --at")
	f.BoolVar(&o.kubespray, "kubespray", false, "print the entry as variables of a kubespray inventory (2.31 or newer)")
	f.StringVarP(&o.output, "output", "o", "all", "all, config (the API servers' half) or rights (for kubectl apply)")
	complete(cmd, "output", cobra.FixedCompletions([]string{"all", "config", "rights"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *trustOptions) check() error {
	switch {
	case o.remote == "" && o.static == "":
		return errors.New("trust needs the remote that is to trust this main: --remote NAME; or --static DIR")
	case !slices.Contains([]string{"all", "config", "rights"}, o.output):
		return fmt.Errorf("--output %q: it has to be all, config or rights", o.output)
	case o.at != "" && !strings.HasPrefix(o.at, "https://"):
		return fmt.Errorf("--at %q does not begin with https://, which API servers insist on", mirror.Printable(o.at))
	case o.remote != "":
		if err := checkName(o.remote); err != nil {
			return fmt.Errorf("--remote: %w", err)
		}
	}
	if o.from != "" {
		if err := mirror.CheckRegion(o.from); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
	}
	return nil
}

func (o *trustOptions) run(cmd *cobra.Command, _ []string) error {
	if err := o.check(); err != nil {
		return err
	}
	s, err := o.session(cmd)
	if err != nil {
		return err
	}
	s.warned = true // that there are no remotes yet is no news
	home, err := o.sourceConfig()
	if err != nil {
		return fmt.Errorf("finding the source's cluster: %w", err)
	}
	issuer, err := o.issuerOf(cmd.Context(), home)
	if err != nil {
		return exitError{fmt.Errorf("the main does not tell its issuer: %s", mirror.Explain(err))}
	}
	if err := (access.Trust{Remote: cmp.Or(o.remote, "a remote"), Issuer: issuer.URL}).Check(""); err != nil {
		return err
	}
	if at := cmp.Or(o.at, issuer.URL); o.static != "" {
		if err := access.WriteStatic(o.static, at, issuer); err != nil {
			return exitError{fmt.Errorf("--static: %w", err)}
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Written: what %s publishes, into %s, to be served at %s.\n", issuer.URL, o.static, at)
	}
	if o.remote == "" {
		return nil
	}
	t, err := o.trust(cmd, s, home, issuer)
	if err != nil {
		return err
	}
	return o.print(cmd.OutOrStdout(), t)
}

// trust finds out who is to trust whom.
func (o *trustOptions) trust(cmd *cobra.Command, s *session, home *rest.Config, issuer kube.Issuer) (access.Trust, error) {
	ctx, say := cmd.Context(), func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
	t := access.Trust{
		Remote: o.remote, Issuer: issuer.URL, At: o.at, Audience: o.server,
		HomeNamespace: o.namespace, Account: cmp.Or(o.identity, usualIdentity), Namespace: o.namespace, Secret: o.secret,
	}
	var err error
	src, _ := s.source.Get(ctx)
	if t.Region, err = o.region(src, o.from); err != nil {
		return t, err
	}
	if err := o.place(ctx, s, &t); err != nil {
		return t, err
	}
	if err := access.CheckAddress(ctx, t.Audience); err != nil && !errors.As(err, new(access.LocalAddress)) {
		return t, fmt.Errorf("the address of %s: %w", o.remote, err)
	}
	own := ""
	switch there, err := wayTo(o.remoteKubeconfig, o.remoteContext, o.remote, t.Audience); {
	case err != nil && o.remoteContext != "":
		return t, fmt.Errorf("--remote-context: %w", err)
	case err != nil || there.config == nil:
		say("Whether %s's own issuer is another one was not looked at: your kubeconfig has no context of it (--remote-context).", o.remote)
	default:
		found, err := o.issuerOf(ctx, there.config)
		if own = found.URL; err != nil {
			say("Whether %s's own issuer is another one is not known: %s", o.remote, mirror.Explain(err))
		}
	}
	if err := t.Check(own); err != nil {
		return t, err
	}
	return t, o.published(ctx, &t, home, issuer, say)
}

// place finds the address and the namespace of the remote in what is stored.
func (o *trustOptions) place(ctx context.Context, s *session, t *access.Trust) error {
	files, err := s.files(ctx)
	if err != nil && o.server == "" {
		return exitError{err}
	}
	for _, f := range files {
		if f.Name != o.remote || f.Err != nil {
			continue
		}
		if cfg, namespace, err := clusters.ParseKubeconfig(f.Data, true); err == nil {
			t.Audience, t.Namespace = cmp.Or(t.Audience, cfg.Host), cmp.Or(namespace, t.Namespace)
		}
	}
	if t.Audience == "" {
		return fmt.Errorf("no kubeconfig is stored of %s, so its address is not known: --server https://HOST:PORT, as the main's pods reach it", o.remote)
	}
	return nil
}

// print prints the halves that were asked for.
func (o *trustOptions) print(out io.Writer, t access.Trust) error {
	if o.output != "rights" {
		text, err := t.Configuration()
		head := fmt.Sprintf("# For the API servers of %s: the file of --authentication-config. Where there is one, add the entry to its jwt.\n# Kubernetes 1.30 to 1.33: apiVersion apiserver.config.k8s.io/v1beta1.\n", o.remote)
		if o.kubespray {
			text, err = t.Kubespray()
			head = fmt.Sprintf("# For the inventory of %s, group_vars/k8s_cluster (kubespray 2.31 or newer). Where the list is there, add the entry to it.\n", o.remote)
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s%s", head, text); err != nil {
			return err
		}
	}
	if o.output == "config" {
		return nil
	}
	objects, err := t.Rights()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "---\n# For kubectl apply in %s: what %s may do there.\n", o.remote, t.User())
	return printObjects(out, objects)
}

// printObjects prints objects as a stream of YAML documents.
func printObjects(out io.Writer, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}
