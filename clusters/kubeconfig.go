// Package clusters keeps the remotes: from a directory of kubeconfigs to live
// clients, each with a watch of its own on the remote's copy.
//
// It does not decide what is written, nor when.
package clusters

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// What is shown is bounded, in bytes: an address, and a name before it is quoted.
const (
	maxAddress = 1024
	maxQuoted  = 64
)

// kubeconfig is the outline of one. What its entries hold is read for the
// current context alone.
type kubeconfig struct {
	CurrentContext string           `json:"current-context"`
	Clusters       []map[string]any `json:"clusters"`
	Users          []map[string]any `json:"users"`
	Contexts       []map[string]any `json:"contexts"`
}

// errNoCredentials refuses a kubeconfig that needs an identity where there is none.
var errNoCredentials = errors.New("the current context's user has neither a token nor client-certificate-data; for one without credentials give --identity")

// Keyless says whether a kubeconfig's user has no credentials, so that an identity of
// the main's signs in.
func Keyless(cfg *rest.Config) bool { return cfg.BearerToken == "" && len(cfg.CertData) == 0 }

// ParseKubeconfig reads the current context of a kubeconfig, and the namespace
// in it, "" where it has none. One without credentials is refused unless keyless.
// It is written by someone else: a field beyond where the cluster is and who we are
// may run a program, read a file of ours, become someone else or trust anyone, and is
// refused. So is what could never work. Errors name the field; never a value.
func ParseKubeconfig(data []byte, keyless bool) (*rest.Config, string, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, "", errors.New("it is empty")
	}
	// Half a MiB of them is gigabytes when they are written out.
	if bytes.ContainsRune(data, '&') && bytes.ContainsRune(data, '*') {
		return nil, "", errors.New("it may have YAML's anchors and aliases (& and *), which are not taken: write out what they mean")
	}
	var k kubeconfig
	// The names of fields as they are written, as kubectl reads them: the
	// standard library's decoder would take Users for users.
	if data, err := yaml.YAMLToJSON(data); err != nil || json.Unmarshal(data, &k) != nil {
		return nil, "", errors.New("it is not the YAML of a kubeconfig")
	}
	if k.CurrentContext == "" {
		return nil, "", errors.New("it has no current-context")
	}
	fields := map[string]string{"context": k.CurrentContext}
	if err := cmp.Or( // in this order: the context names the other two
		take(fields, "context", k.Contexts, "cluster", "user", "namespace"),
		take(fields, "cluster", k.Clusters, "server", "tls-server-name", "certificate-authority-data", "proxy-url"),
		take(fields, "user", k.Users, "token", "client-certificate-data", "client-key-data"),
	); err != nil {
		return nil, "", err
	}
	fields["token"] = strings.TrimRightFunc(fields["token"], unicode.IsSpace)
	if err := check(fields); err != nil {
		return nil, "", err
	}
	cfg, err := config(fields)
	if err == nil && !keyless && Keyless(cfg) {
		return nil, "", errNoCredentials
	}
	return cfg, fields["namespace"], err
}

// take adds to fields the allowed ones of the entry that they name for that kind,
// decoded, and refuses what is set there beyond.
func take(fields map[string]string, kind string, list []map[string]any, allowed ...string) error {
	list = slices.DeleteFunc(list, func(entry map[string]any) bool { return entry["name"] != fields[kind] })
	if len(list) != 1 {
		return fmt.Errorf("%ss has %d entries of the name that the current context asks for; there has to be one", kind, len(list))
	}
	entry, ok := list[0][kind].(map[string]any)
	if !ok {
		return fmt.Errorf("the current context's %s is empty or not a mapping", kind)
	}
	for _, field := range slices.Sorted(maps.Keys(entry)) {
		value := entry[field]
		if !slices.Contains(allowed, field) {
			// Extensions are ignored by everybody, so they can do no harm.
			if set(value) && field != "extensions" {
				return fmt.Errorf("the current context's %s sets the field %s, which is not allowed; allowed are %s", kind, quoted(field), strings.Join(allowed, ", "))
			}
			continue
		}
		text, ok := value.(string)
		if !ok && value != nil {
			return fmt.Errorf("%s is not a text", field)
		}
		if strings.HasSuffix(field, "-data") {
			data, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return fmt.Errorf("%s is not base64", field)
			}
			text = string(data)
		}
		fields[field] = text
	}
	return nil
}

// set says whether a field holds anything: false, "" and null are as good as not there.
func set(value any) bool {
	v := reflect.ValueOf(value)
	list := v.Kind() == reflect.Slice || v.Kind() == reflect.Map
	return v.IsValid() && !v.IsZero() && (!list || v.Len() > 0)
}

// check refuses the fields that could never work, but for the addresses.
func check(fields map[string]string) error {
	namespace, name, token := fields["namespace"], fields["tls-server-name"], fields["token"]
	ca, cert, key := fields["certificate-authority-data"], fields["client-certificate-data"], fields["client-key-data"]
	switch {
	case namespace != "" && validation.IsDNS1123Label(namespace) != nil:
		return errors.New("namespace is no namespace's name: that is 1 to 63 of a-z, 0-9 and -, with no - at its ends")
	case name != "" && !isHost(name):
		return errors.New("tls-server-name is no host's name")
	// As kubectl does it: of a bundle, the certificates that can be read count.
	case ca != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(ca)):
		return errors.New("certificate-authority-data has no certificate in it, as PEM")
	case (cert == "") != (key == ""):
		return errors.New("of client-certificate-data and client-key-data there is only one")
	case cert != "" && !pairs([]byte(cert), []byte(key)):
		return errors.New("client-certificate-data and client-key-data are not a certificate and its key, as PEM")
	case token != "":
		return kube.CheckToken(token)
	}
	return nil
}

func pairs(cert, key []byte) bool {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false
	}
	_, err = x509.ParseCertificates(slices.Concat(pair.Certificate...))
	return err == nil
}

func config(fields map[string]string) (*rest.Config, error) {
	if _, err := address("server", fields["server"], "https"); err != nil {
		return nil, err
	}
	cfg := &rest.Config{
		Host:        fields["server"],
		BearerToken: fields["token"],
		TLSClientConfig: rest.TLSClientConfig{
			ServerName: fields["tls-server-name"],
			CAData:     []byte(fields["certificate-authority-data"]),
			CertData:   []byte(fields["client-certificate-data"]),
			KeyData:    []byte(fields["client-key-data"]),
		},
		// Set always: client-go keeps the transports of configs without one for ever.
		Proxy: http.ProxyFromEnvironment,
	}
	if text := fields["proxy-url"]; text != "" {
		proxy, err := address("proxy-url", text, "http", "https", "socks5")
		if err != nil {
			return nil, err
		}
		cfg.Proxy = http.ProxyURL(proxy)
	}
	return cfg, nil
}

// address is a URL that can be dialled, of one of the schemes, in printable ASCII.
func address(field, text string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxAddress || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%s is not an address like %s://host:port", field, schemes[0])
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "1"), 10, 16)
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("%s does not begin with %s://", field, strings.Join(schemes, "://, "))
	case err != nil || port == 0 || strings.HasSuffix(u.Host, ":"):
		return nil, fmt.Errorf("%s has a port that is none: they go from 1 to 65535", field)
	case !isHost(u.Hostname()):
		return nil, fmt.Errorf("%s has no host's name or address in it", field)
	case strings.ContainsAny(text, "?#") || u.User != nil && field == "server":
		return nil, fmt.Errorf("%s has more to it than a host, a port and a path", field)
	}
	return u, nil
}

// isHost says whether it is an IP address or a name that DNS could have.
func isHost(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || validation.IsDNS1123SubdomainWithUnderscore(strings.ToLower(strings.TrimSuffix(name, "."))) == nil
}

// quoted is a name in printable ASCII. A long one is cut, and told from others by
// a checksum.
func quoted(name string) string {
	if len(name) <= maxQuoted {
		return strconv.QuoteToASCII(name)
	}
	return fmt.Sprintf("%+q...%08x", name[:maxQuoted], crc32.ChecksumIEEE([]byte(name)))
}
