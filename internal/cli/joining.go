package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// address takes from the operator's context what is to be stored of where the remote
// is, and is the operator's way to that very address.
func (o *joinOptions) address(ctx context.Context, name string, there place, say func(string)) (kubeconfig.Config, *rest.Config, error) {
	k := kubeconfig.Config{
		Remote: name, Namespace: o.namespace, Server: there.cluster.Server, ProxyURL: there.cluster.ProxyURL,
		TLS: rest.TLSClientConfig{ServerName: there.cluster.TLSServerName},
	}
	if there.config.Insecure {
		return k, nil, fmt.Errorf("context %s skips TLS verification: whoever is on the way would be given the keys; put the cluster's certificate-authority-data into it", there.context)
	}
	var err error
	if k.TLS.CAData, err = caOf(there.config); err != nil {
		return k, nil, fmt.Errorf("reading the CA of context %s: %w", there.context, err)
	}
	cfg := rest.CopyConfig(there.config)
	err = access.CheckAddress(ctx, k.Server)
	if o.server == "" && err != nil {
		return k, nil, fmt.Errorf("context %s: %w; name the address that the main's pods reach: --server https://HOST:PORT%s", there.context, err, o.own(ctx, cfg))
	}
	if o.server != "" {
		k.Server, cfg.Host = o.server, o.server
		if err := access.CheckAddress(ctx, k.Server); err != nil {
			var local access.LocalAddress
			if !errors.As(err, &local) {
				return k, nil, fmt.Errorf("--server: %w", err)
			}
			say(fmt.Sprintf("Warning: --server: %v", err))
		}
	}
	return k, cfg, nil
}

// own says which address the cluster itself tells.
func (o *joinOptions) own(ctx context.Context, cfg *rest.Config) string {
	apis, err := o.apis(cfg)
	if err != nil {
		return ""
	}
	defer apis.Close()
	address, err := access.OwnAddress(ctx, apis)
	if err != nil {
		return "; the cluster's own cluster-info tells none"
	}
	return " (the cluster's own cluster-info says " + address + ")"
}

// joined is the result, as -o json has it.
type joined struct {
	Name      string `json:"name"`
	Server    string `json:"server"`
	Version   string `json:"version"`
	Namespace string `json:"namespace"`
	Account   string `json:"account"`
	// Plan is what was shown before the question.
	Plan []string `json:"plan"`
	// Expires is when the stored token does; nil where none is stored.
	Expires *time.Time `json:"expires"`
	// State is the remote's at the end, as status has it; "" where it was not waited for.
	State mirror.State `json:"state"`
}

// credentials say what is stored of them.
func (d joined) credentials() string {
	if d.Expires == nil {
		return "No credentials are stored."
	}
	return "Its token expires at " + d.Expires.Format(time.RFC3339) + "."
}

// carryOut shows, asks, makes, stores and waits.
func (j *joining) carryOut(cmd *cobra.Command) error {
	ctx := cmd.Context()
	found, err := j.Plan(ctx)
	if err != nil {
		return refused(err)
	}
	done := joined{Name: j.Kubeconfig.Remote, Server: j.Kubeconfig.Server, Version: found.Of("version").What, Namespace: j.Kubeconfig.Namespace, Account: j.Kubeconfig.Account, Plan: j.Lines(found)}
	if j.Trust != nil {
		done.Account = j.Trust.User()
	}
	if ok, err := j.approved(cmd, done.Plan, done); !ok {
		return err
	}
	encoded, expires, err := j.Make(ctx, j.requestTimeout)
	if err != nil {
		return exitError{err}
	}
	if err := j.Store(ctx, encoded); err != nil {
		return exitError{err}
	}
	done.Expires = expires
	trouble := j.await(cmd, &done)
	if before := j.Before(); before != nil {
		j.Say(fmt.Sprintf("Its token of before is still good there. Once %s is Synced, take it back:\n  %s", j.Kubeconfig.Remote, strings.Join(before, "\n  ")))
	}
	return cmp.Or(j.print(cmd.OutOrStdout(), done), trouble)
}

func (j *joining) print(out io.Writer, done joined) error {
	if j.output == "json" {
		return json.NewEncoder(out).Encode(done)
	}
	_, err := fmt.Fprintf(out, "%s is let in: its kubeconfig works, and is stored in Secret %s/%s. %s\n", j.Kubeconfig.Remote, j.namespace, j.Kubeconfigs.Name(), done.credentials())
	if done.State == mirror.StateSynced {
		fmt.Fprintf(out, "%s is Synced.\n", j.Kubeconfig.Remote)
	}
	return err
}

// await waits until the remote holds the source's keys, and says why not.
func (j *joining) await(cmd *cobra.Command, done *joined) error {
	src, _ := j.source.Seen()
	switch {
	case j.wait == 0:
		return nil
	case src.State() == mirror.SourceStandby:
		j.Say(fmt.Sprintf("This region stands by (%s): nothing is pushed from here until it is promoted.", src.Detail()))
		return nil
	case src.State() != mirror.SourceMain:
		j.Say("This region is not promoted: nothing is pushed until you have said that it is the main: fernetcast promote " + cmp.Or(j.from, "REGION"))
		return nil
	}
	j.Say(fmt.Sprintf("Waiting until the program in the main has written the keys to %s, for %s at most.", j.Kubeconfig.Remote, j.wait))
	w := &waiting{session: j.session, names: []string{j.Kubeconfig.Remote}, line: cmd.ErrOrStderr()}
	j.reread(cmd.Context())
	err := w.poll(cmd.Context(), j.wait)
	last := "it was not looked at"
	for _, r := range w.last.Remotes {
		done.State, last = r.State, fmt.Sprintf("%s %s", r.State, r.Detail)
	}
	if err != nil {
		return exitError{fmt.Errorf("%s is let in, and is not Synced: %s; a pod sees a new kubeconfig after up to 90 s; does the program run in the main? fernetcast status; its log: kubectl --namespace %s logs deploy/keystone-api -c fernetcast", j.Kubeconfig.Remote, last, j.namespace)}
	}
	return nil
}

// refused is the exit code of what was asked for and cannot be had.
func refused(err error) error {
	var bad access.Refusal
	if errors.As(err, &bad) {
		return err
	}
	return exitError{fmt.Errorf("nothing was changed: %w", err)}
}

// printHalves prints what the remote's repository and the source's are to hold.
func (j *joining) printHalves(out io.Writer) error {
	objects, err := j.Objects()
	if err != nil {
		return err
	}
	if j.Trust != nil {
		if err := j.printConfig(out); err != nil {
			return err
		}
		fmt.Fprintln(out, "---")
	}
	fmt.Fprintf(out, "# For the cluster of %s.\n", j.Kubeconfig.Remote)
	for _, object := range objects {
		if err := printDocument(out, "", object.Object); err != nil {
			return err
		}
	}
	encoded, err := j.Kubeconfig.Encode()
	if err != nil {
		return err
	}
	about := fmt.Sprintf("There is no token in it, which is not for a repository: fernetcast join %s --remote-context %s, without -o yaml, adds it.", j.Kubeconfig.Remote, mirror.Quote(j.There.Context))
	if j.Trust != nil {
		about = "There are no credentials in it."
	}
	return printDocument(out, "# For the main's cluster. "+about+"\n", &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: j.Kubeconfigs.Name(), Namespace: j.namespace},
		StringData: map[string]string{kubeconfig.EntryOf(nil, j.Kubeconfig.Remote): string(encoded)},
	})
}

// printConfig prints what the remote's API servers need to trust the main.
func (j *joining) printConfig(out io.Writer) error {
	text, err := j.Trust.Configuration()
	head := fmt.Sprintf("# For the API servers of %s, not for kubectl: the file of --authentication-config. If there is one, add the entry to its jwt.\n# Kubernetes 1.30 to 1.33: apiVersion apiserver.config.k8s.io/v1beta1.\n", j.Kubeconfig.Remote)
	if j.kubespray {
		text, err = j.Trust.Kubespray()
		head = fmt.Sprintf("# For the inventory of %s, group_vars/k8s_cluster (kubespray 2.31 or newer). If the list is there, add the entry to it.\n", j.Kubeconfig.Remote)
	}
	if err == nil {
		_, err = fmt.Fprintf(out, "%s%s", head, text)
	}
	return err
}

// printDocument prints a document of a YAML stream, after a comment.
func printDocument(out io.Writer, comment string, document any) error {
	text, err := yaml.Marshal(document)
	if err == nil {
		_, err = fmt.Fprintf(out, "---\n%s%s", comment, text)
	}
	return err
}
