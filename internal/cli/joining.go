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

// address returns the address part of the new kubeconfig, from the operator's context and
// --server. It also returns the operator's client config for the same address.
func (o *joinOptions) address(ctx context.Context, name string, there place, say func(string)) (kubeconfig.Config, *rest.Config, error) {
	k := kubeconfig.Config{
		Remote: name, Namespace: o.namespace, Server: there.cluster.Server, ProxyURL: there.cluster.ProxyURL,
		TLS: rest.TLSClientConfig{ServerName: there.cluster.TLSServerName},
	}
	if there.config.Insecure {
		return k, nil, fmt.Errorf("context %s skips TLS verification, so an attacker on the network could obtain the keys; set certificate-authority-data instead", there.context)
	}
	var err error
	if k.TLS.CAData, err = caOf(there.config); err != nil {
		return k, nil, fmt.Errorf("reading the CA of context %s: %w", there.context, err)
	}
	cfg := rest.CopyConfig(there.config)
	err = access.CheckAddress(ctx, k.Server)
	if o.server == "" && err != nil {
		return k, nil, fmt.Errorf("context %s: %w; specify an address that the main region's pods can reach: --server https://HOST:PORT%s", there.context, err, o.addressHint(ctx, cfg))
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

// addressHint returns a hint for an error message: the address in the cluster's cluster-info.
func (o *joinOptions) addressHint(ctx context.Context, cfg *rest.Config) string {
	apis, err := o.apis(cfg)
	if err != nil {
		return ""
	}
	defer apis.Close()
	address, err := access.OwnAddress(ctx, apis)
	if err != nil {
		return "; the cluster's cluster-info contains no address"
	}
	return " (the cluster's cluster-info contains " + address + ")"
}

// joined is the document that -o json prints.
type joined struct {
	Name      string `json:"name"`
	Server    string `json:"server"`
	Version   string `json:"version"`
	Namespace string `json:"namespace"`
	Account   string `json:"account"`
	// Plan is the plan as shown before the question.
	Plan []string `json:"plan"`
	// Expires is when the stored token expires, or nil if no token is stored.
	Expires *time.Time `json:"expires"`
	// State is the remote's final state, or "" if join didn't wait.
	State mirror.State `json:"state"`
}

// credentials describes the stored credentials for the operator.
func (d joined) credentials() string {
	if d.Expires == nil {
		return "No credentials are stored."
	}
	return "Its token expires at " + d.Expires.Format(time.RFC3339) + "."
}

// carryOut shows the plan, asks, creates the access, stores the kubeconfig, and waits.
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
		j.Say(fmt.Sprintf("Its previous token is still valid. When %s is Synced, revoke it:\n  %s", j.Kubeconfig.Remote, strings.Join(before, "\n  ")))
	}
	return cmp.Or(j.print(cmd.OutOrStdout(), done), trouble)
}

func (j *joining) print(out io.Writer, done joined) error {
	if j.output == "json" {
		return json.NewEncoder(out).Encode(done)
	}
	_, err := fmt.Fprintf(out, "Joined %s: its kubeconfig works and is stored in Secret %s/%s. %s\n", j.Kubeconfig.Remote, j.namespace, j.Kubeconfigs.Name(), done.credentials())
	if done.State == mirror.StateSynced {
		fmt.Fprintf(out, "%s is Synced.\n", j.Kubeconfig.Remote)
	}
	return err
}

// await waits until the remote has the source's keys, and sets done.State. If the remote isn't
// Synced in time, the error explains why.
func (j *joining) await(cmd *cobra.Command, done *joined) error {
	src, _ := j.source.Seen()
	switch {
	case j.wait == 0:
		return nil
	case src.State() == mirror.SourceStandby:
		j.Say(fmt.Sprintf("This region is a standby (%s). It pushes nothing until you promote it.", src.Detail()))
		return nil
	case src.State() != mirror.SourceMain:
		j.Say("This region is not promoted, so it pushes nothing. To make it the main region: fernetcast promote " + cmp.Or(j.from, "REGION"))
		return nil
	}
	j.Say(fmt.Sprintf("Waiting up to %s for the main region to push the keys to %s.", readable(j.wait), j.Kubeconfig.Remote))
	w := &waiting{session: j.session, names: []string{j.Kubeconfig.Remote}, line: cmd.ErrOrStderr()}
	j.reread(cmd.Context())
	err := w.poll(cmd.Context(), j.wait)
	last := "its state is unknown"
	for _, r := range w.last.Remotes {
		done.State, last = r.State, fmt.Sprintf("%s %s", r.State, r.Detail)
	}
	if err != nil {
		return exitError{fmt.Errorf("%s has joined but is not Synced: %s; pods see a new kubeconfig within 90 s; is fernetcast running in the main region? Check fernetcast status and the log: kubectl --namespace %s logs deploy/keystone-api -c fernetcast", j.Kubeconfig.Remote, last, j.namespace)}
	}
	return nil
}

// refused maps an error of Plan to an exit code: 2 for an [access.Refusal], otherwise 1.
func refused(err error) error {
	var bad access.Refusal
	if errors.As(err, &bad) {
		return err
	}
	return exitError{fmt.Errorf("nothing was changed: %w", err)}
}

// printObjects prints the objects for the remote's cluster and for the source's cluster.
func (j *joining) printObjects(out io.Writer) error {
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
	fmt.Fprintf(out, "# For the cluster %s.\n", j.Kubeconfig.Remote)
	for _, object := range objects {
		if err := printDocument(out, "", object.Object); err != nil {
			return err
		}
	}
	encoded, err := j.Kubeconfig.Encode()
	if err != nil {
		return err
	}
	about := fmt.Sprintf("It contains no token, because a token does not belong in a repository. To add one: fernetcast join %s --remote-context %s", j.Kubeconfig.Remote, mirror.Quote(j.There.Context))
	if j.Trust != nil {
		about = "It contains no credentials."
	}
	return printDocument(out, "# For the main region's cluster. "+about+"\n", &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: j.Kubeconfigs.Name(), Namespace: j.namespace},
		StringData: map[string]string{kubeconfig.EntryOf(nil, j.Kubeconfig.Remote): string(encoded)},
	})
}

// printConfig prints the configuration for the remote's API servers.
func (j *joining) printConfig(out io.Writer) error {
	text, err := j.Trust.Configuration()
	head := fmt.Sprintf("# For --authentication-config of %s's API servers, not for kubectl. If they already use such a file, add the entry to its jwt list.\n# For Kubernetes 1.30 to 1.33, set apiVersion to apiserver.config.k8s.io/v1beta1.\n", j.Kubeconfig.Remote)
	if j.kubespray {
		text, err = j.Trust.Kubespray()
		head = fmt.Sprintf("# For group_vars/k8s_cluster in the inventory of %s (kubespray 2.31 or newer). If the list exists, add the entry to it.\n", j.Kubeconfig.Remote)
	}
	if err == nil {
		_, err = fmt.Fprintf(out, "%s%s", head, text)
	}
	return err
}

// printDocument prints one document of a YAML stream, with a comment before it.
func printDocument(out io.Writer, comment string, document any) error {
	text, err := yaml.Marshal(document)
	if err == nil {
		_, err = fmt.Fprintf(out, "---\n%s%s", comment, text)
	}
	return err
}
