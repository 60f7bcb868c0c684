// Package clusters keeps the remotes: from a directory of kubeconfigs to live
// clients, each with a watch of its own on the remote's copy.
//
// It does not decide what is written, nor when.
package clusters

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	casejson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// The fields that are taken from a kubeconfig. It is credentials written by
// someone else: any other may run a program, read a file of ours, become
// someone else or trust anyone.
var (
	clusterFields = []string{"server", "tls-server-name", "certificate-authority-data", "proxy-url"}
	userFields    = []string{"token", "client-certificate-data", "client-key-data"}
	contextFields = []string{"cluster", "user", "namespace"}
	// ignored by everybody, so they can do no harm.
	ignoredFields = []string{"extensions"}
)

// kubeconfig is the outline of one. What its entries hold is read for the
// current context alone.
type kubeconfig struct {
	CurrentContext string  `json:"current-context"`
	Clusters       []entry `json:"clusters"`
	Users          []entry `json:"users"`
	Contexts       []entry `json:"contexts"`
}

type entry struct {
	Name    string          `json:"name"`
	Cluster json.RawMessage `json:"cluster"`
	User    json.RawMessage `json:"user"`
	Context json.RawMessage `json:"context"`
}

// content is what an entry of that list holds; nil where it holds nothing.
func (e entry) content(list string) json.RawMessage {
	switch list {
	case "clusters":
		return e.Cluster
	case "users":
		return e.User
	}
	return e.Context
}

// parseKubeconfig reads the current context of a kubeconfig, and the namespace
// in it, "" where it has none. It refuses every field that could do more than
// say where the cluster is and prove who we are, naming it; never a value.
func parseKubeconfig(data []byte) (*rest.Config, string, error) {
	var k kubeconfig
	// The names of fields as they are written, as kubectl reads them: the
	// standard library's decoder would take Users for users.
	if data, err := yaml.YAMLToJSON(data); err != nil || casejson.Unmarshal(data, &k) != nil {
		return nil, "", errors.New("it is not the YAML of a kubeconfig")
	}
	if k.CurrentContext == "" {
		return nil, "", errors.New("it has no current-context")
	}
	var context clientcmdv1.Context
	var cluster clientcmdv1.Cluster
	var user clientcmdv1.AuthInfo
	if err := take("contexts", k.Contexts, k.CurrentContext, &context, contextFields); err != nil {
		return nil, "", err
	}
	if err := take("clusters", k.Clusters, context.Cluster, &cluster, clusterFields); err != nil {
		return nil, "", err
	}
	if err := take("users", k.Users, context.AuthInfo, &user, userFields); err != nil {
		return nil, "", err
	}
	if user.Token == "" && len(user.ClientCertificateData) == 0 {
		return nil, "", fmt.Errorf("users: %q has neither a token nor client-certificate-data", context.AuthInfo)
	}
	cfg, err := config(cluster, user)
	return cfg, context.Namespace, err
}

// take decodes the one entry of that name into to, and refuses what is set
// there beyond the allowed fields.
func take(list string, entries []entry, name string, to any, allowed []string) error {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.Name == name })
	if i < 0 {
		return fmt.Errorf("%s has no %q, which the current context asks for", list, name)
	}
	if slices.ContainsFunc(entries[i+1:], func(e entry) bool { return e.Name == name }) {
		return fmt.Errorf("%s has %q more than once", list, name)
	}
	var fields map[string]any
	if err := json.Unmarshal(entries[i].content(list), &fields); err != nil {
		return fmt.Errorf("%s: %q is empty or not a mapping", list, name)
	}
	for field, value := range fields {
		if slices.Contains(allowed, field) {
			continue
		}
		if set(value) && !slices.Contains(ignoredFields, field) {
			return fmt.Errorf("%s: %q sets the field %s, which is not allowed; allowed are %s", list, name, field, strings.Join(allowed, ", "))
		}
		delete(fields, field)
	}
	taken, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("%s: %q: %w", list, name, err)
	}
	if err := json.Unmarshal(taken, to); err != nil {
		return fmt.Errorf("%s: %q has a field of the wrong type, or data that is not base64", list, name)
	}
	return nil
}

// set says whether a field holds anything: false, "" and null are as good as not there.
func set(value any) bool {
	v := reflect.ValueOf(value)
	if !v.IsValid() || v.IsZero() {
		return false
	}
	return (v.Kind() != reflect.Slice && v.Kind() != reflect.Map) || v.Len() > 0
}

func config(cluster clientcmdv1.Cluster, user clientcmdv1.AuthInfo) (*rest.Config, error) {
	server, err := url.Parse(cluster.Server)
	switch {
	case err != nil || server.Host == "":
		return nil, errors.New("server is not an address like https://host:6443")
	case server.Scheme != "https":
		return nil, errors.New("server is not https, so keys and credentials would travel in the clear")
	case server.User != nil || server.RawQuery != "" || server.Fragment != "":
		return nil, errors.New("server has more to it than https, a host, a port and a path")
	}
	cfg := &rest.Config{
		Host:        cluster.Server,
		BearerToken: user.Token,
		TLSClientConfig: rest.TLSClientConfig{
			ServerName: cluster.TLSServerName,
			CAData:     cluster.CertificateAuthorityData,
			CertData:   user.ClientCertificateData,
			KeyData:    user.ClientKeyData,
		},
		// Set always: client-go keeps the transports of configs without one for ever.
		Proxy: http.ProxyFromEnvironment,
	}
	if cluster.ProxyURL != "" {
		proxy, err := url.Parse(cluster.ProxyURL)
		if err != nil || proxy.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, proxy.Scheme) {
			return nil, errors.New("proxy-url is not an address like http://host:3128, https:// or socks5://")
		}
		cfg.Proxy = http.ProxyURL(proxy)
	}
	return cfg, nil
}
