package access

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Trust describes how a remote's API server recognizes a main region's short-lived tokens, which
// replace an account in the remote.
type Trust struct {
	// Region is the name of the main region. Remote is the cluster that will trust it.
	Region, Remote string
	// Issuer is the URL of the main region's issuer, as in its tokens.
	Issuer string
	// At is the URL of a static copy of the issuer's documents; "" if there is none.
	At string
	// CA (PEM) verifies the web server of the documents. If it is nil, the system's CAs do.
	CA []byte
	// Audience is the remote's address as written in its kubeconfig.
	Audience string
	// HomeNamespace and Account identify the main region's ServiceAccount.
	HomeNamespace, Account string
	// Namespace and Secret are the location of the keys in the remote.
	Namespace, Secret string
}

// Complete verifies that the remote can trust the issuer of the main region's cluster, here. It
// sets Issuer and, unless it is set, CA. Unless static is "", Complete writes the issuer's
// documents to that directory. It passes say warnings and results. A [Refusal] means that this
// issuer or its documents can't be used.
func (t *Trust) Complete(ctx context.Context, here, there *setup.APIs, static string, timeout time.Duration, say func(string)) error {
	issuer, err := here.Issuer(ctx)
	if err != nil {
		return fmt.Errorf("reading the main region's issuer: %s", mirror.Explain(err))
	}
	t.Issuer = issuer.URL
	found, err := there.Issuer(ctx)
	if err != nil {
		say(fmt.Sprintf("Warning: cannot verify that %s has a different issuer: %s", t.Remote, mirror.Explain(err)))
	}
	if err := t.check(found.URL); err != nil {
		return Refusal{err}
	}
	if at := cmp.Or(t.At, t.Issuer); static != "" {
		if err := writeStatic(static, at, issuer); err != nil {
			return fmt.Errorf("--static: %w", err)
		}
		say(fmt.Sprintf("Wrote the documents of issuer %s to %s. Serve them at %s.", t.Issuer, static, at))
	}
	candidates := [][]byte{t.CA}
	own := rest.CopyConfig(here.Config)
	if t.CA == nil && rest.LoadTLSFiles(own) == nil && own.CAData != nil {
		candidates = append(candidates, own.CAData)
	}
	return t.findCA(ctx, candidates, issuer, timeout, say)
}

// check returns an error if a remote's API server can't use this issuer. remoteIssuer is the
// remote's own issuer, or "" if it isn't known.
func (t Trust) check(remoteIssuer string) error {
	u, err := url.Parse(t.Issuer)
	switch {
	case err != nil || u.Scheme != "https" || mirror.Address(t.Issuer) != t.Issuer:
		return fmt.Errorf("the main region's issuer is %s, but it must start with https://, and contain only a host, a port, and a path", mirror.Address(t.Issuer))
	case setup.InCluster(t.Issuer):
		return fmt.Errorf("the main region's issuer is %s, which every cluster uses by default: %s's API server would not start, or would mistake its own tokens for the main region's. Give the main region a unique issuer (--service-account-issuer), as described in docs/keyless.md", t.Issuer, t.Remote)
	case t.Issuer == remoteIssuer:
		return fmt.Errorf("%s is also %s's own issuer: its API server would not start. Give the main region a unique issuer (--service-account-issuer), as described in docs/keyless.md", t.Issuer, t.Remote)
	}
	return nil
}

// prefix returns the prefix of the main region's user name in the remote.
func (t Trust) prefix() string { return AccountOf(t.Region, usualSecret) + ":" }

// User returns the user name of the main region in the remote.
func (t Trust) User() string { return t.prefix() + t.subject() }

func (t Trust) subject() string {
	return "system:serviceaccount:" + t.HomeNamespace + ":" + t.Account
}

// account returns the name that the main region's account would have in the remote. It is used only
// to name other objects.
func (t Trust) account() string { return AccountOf(t.Region, t.Secret) }

// keylessBinding returns the name of the RoleBinding for a main region without an account. It
// differs from the name of the account's own RoleBinding, so both can exist.
func keylessBinding(account string) string { return account + "-keyless" }

// entry returns the jwt entry of an AuthenticationConfiguration. It accepts only this ServiceAccount,
// this audience, and at most an hour of lifetime. See
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration.
func (t Trust) entry() map[string]any {
	issuer := map[string]any{"url": t.Issuer, "audiences": []string{t.Audience}}
	if len(t.CA) > 0 {
		issuer["certificateAuthority"] = string(t.CA)
	}
	if at := strings.TrimSuffix(t.At, "/"); at != "" && at != strings.TrimSuffix(t.Issuer, "/") {
		issuer["discoveryURL"] = at + setup.DiscoveryPath
	}
	rule := func(message, format string, args ...any) map[string]string {
		return map[string]string{"expression": fmt.Sprintf(format, args...), "message": message}
	}
	return map[string]any{
		"issuer": issuer,
		"claimValidationRules": []any{
			rule("the token is not from the main region's fernetcast", "claims.sub == %q", t.subject()),
			rule("the token is valid for other clusters", "claims.aud == [%q]", t.Audience),
			rule("the token lives longer than an hour", "claims.exp - claims.iat <= %d", int(kube.MintedLife.Seconds())),
		},
		"claimMappings":       map[string]any{"username": map[string]string{"expression": fmt.Sprintf("%q + claims.sub", t.prefix())}},
		"userValidationRules": []any{rule("the username is reserved for Kubernetes", "!user.username.startsWith('system:')")},
	}
}

// Configuration returns the remote's authentication configuration file or, for kubespray 2.31 or
// newer, the same configuration as inventory variables, as YAML.
func (t Trust) Configuration(kubespray bool) ([]byte, error) {
	head := "# For --authentication-config of %s's API servers, not for kubectl. If they already use such a file, add the entry to its jwt list.\n# For Kubernetes 1.30 to 1.33, set apiVersion to apiserver.config.k8s.io/v1beta1.\n"
	document := map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": []any{t.entry()}}
	if kubespray {
		head = "# For group_vars/k8s_cluster in the inventory of %s (kubespray 2.31 or newer). If the list exists, add the entry to it.\n"
		document = map[string]any{"kube_apiserver_use_authentication_config_file": true, "kube_apiserver_authentication_config_jwt": []any{t.entry()}}
	}
	text, err := yaml.Marshal(document)
	return append(fmt.Appendf(nil, head, t.Remote), text...), err
}

// rights returns the objects that the user needs in the remote: a Role, a RoleBinding, and the
// cluster-scoped policies.
func (t Trust) rights() ([]*unstructured.Unstructured, error) {
	objects, err := rights(t.account(), t.Namespace, t.Secret)
	if err != nil {
		return nil, err
	}
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "ServiceAccount" })
	for _, o := range objects {
		if o.GetKind() == "RoleBinding" {
			o.SetName(keylessBinding(t.account()))
			o.Object["subjects"] = []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": t.User()}}
		}
	}
	return objects, nil
}

// writeStatic writes an issuer's discovery document and keys into dir, for a web server that serves
// dir at the https URL at. It replaces existing files atomically, the keys first.
func writeStatic(dir, at string, is setup.Issuer) error {
	if !strings.HasPrefix(at, "https://") || mirror.Address(at) != at {
		return errors.New("the URL is not an address like https://host/path")
	}
	var document map[string]any
	if err := json.Unmarshal(is.Document, &document); err != nil || len(keyIDs(is.Keys)) == 0 {
		return errors.New("the main region's API server publishes no keys for its issuer")
	}
	document["jwks_uri"] = strings.TrimSuffix(at, "/") + setup.KeysPath
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, setup.KeysPath), is.Keys); err != nil {
		return err
	}
	return replace(filepath.Join(dir, setup.DiscoveryPath), append(text, '\n'))
}

// replace atomically writes a world-readable file.
func replace(path string, data []byte) error {
	half := path + ".half"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(half, data, 0o644); err != nil {
		return errors.Join(err, os.Remove(half))
	}
	return cmp.Or(os.Chmod(half, 0o644), os.Rename(half, path)) // use Chmod, because the umask could hide the file from the web server
}
