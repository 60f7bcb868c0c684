package kubeconfig

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
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
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/yaml"
)

const (
	// maxAddress bounds an address, in bytes, because addresses are printed.
	maxAddress = 1024
	// maxPEM bounds certificates and keys, in bytes, because each remote keeps them in memory.
	maxPEM = 64 << 10
	// maxMarks bounds the characters that begin a list, a mapping, or an entry.
	maxMarks = 50_000
)

// An outline is a kubeconfig before the entries of its current context are decoded.
type outline struct {
	CurrentContext string           `json:"current-context"`
	Clusters       []map[string]any `json:"clusters"`
	Users          []map[string]any `json:"users"`
	Contexts       []map[string]any `json:"contexts"`
}

var (
	errAliases = errors.New("it may contain YAML anchors and aliases (& and *), which are not allowed: write out the values")
	errComplex = fmt.Errorf("it has more than %d lines, colons, commas, brackets, or hyphens", maxMarks)
)

// costly rejects YAML that could take much more memory than its size. Aliases can expand half a MiB
// to gigabytes, and each list or mapping takes hundreds of bytes.
func costly(data []byte) error {
	if bytes.ContainsRune(data, '&') && bytes.ContainsRune(data, '*') {
		return errAliases
	}
	marks := 0
	for _, b := range data {
		switch b {
		case '\n', ':', ',', '[', '{', '-', '?':
			marks++
		}
	}
	if marks > maxMarks {
		return errComplex
	}
	return nil
}

// Parse reads the current context of an untrusted kubeconfig. A field may run a program, read a
// local file, impersonate a user, or disable verification. So Parse rejects all fields except those
// for the address and the credentials. It also rejects values that can never work and, unless
// keyless is set, a user without credentials. An error names the field and never contains a value.
func Parse(data []byte, keyless bool) (c Config, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return c, errors.New("it is empty")
	}
	if err := costly(data); err != nil {
		return c, err
	}
	var all outline
	// Field names are case-sensitive, as in kubectl. The standard library's decoder would accept
	// Users for users.
	if data, err := yaml.YAMLToJSON(data); err != nil || json.Unmarshal(data, &all) != nil {
		return c, errors.New("it is not the YAML of a kubeconfig")
	}
	if all.CurrentContext == "" {
		return c, errors.New("it has no current-context")
	}
	fields := map[string]string{"context": all.CurrentContext}
	if err := cmp.Or( // in this order, because the context names the other two
		take(fields, "context", all.Contexts, "cluster", "user", "namespace"),
		take(fields, "cluster", all.Clusters, "server", "tls-server-name", "certificate-authority-data", "proxy-url"),
		take(fields, "user", all.Users, "token", "client-certificate-data", "client-key-data"),
	); err != nil {
		return c, err
	}
	token := strings.TrimRightFunc(fields["token"], unicode.IsSpace)
	c = Config{
		Remote: all.CurrentContext, Account: cmp.Or(kube.ReadToken(token).Account, fields["user"]), Namespace: fields["namespace"],
		Server: fields["server"], ProxyURL: fields["proxy-url"], Token: token, Cluster: fields["uid"],
		TLS: rest.TLSClientConfig{
			ServerName: fields["tls-server-name"], CAData: []byte(fields["certificate-authority-data"]),
			CertData: []byte(fields["client-certificate-data"]), KeyData: []byte(fields["client-key-data"]),
		},
	}
	if err := c.check(keyless); err != nil {
		return Config{}, err
	}
	return c, nil
}

// take copies the allowed fields of the named entry of this kind to fields, and decodes them. It
// rejects an entry that sets other fields.
func take(fields map[string]string, kind string, list []map[string]any, allowed ...string) error {
	list = slices.DeleteFunc(list, func(entry map[string]any) bool { return entry["name"] != fields[kind] })
	if len(list) != 1 {
		return fmt.Errorf("%ss has %d entries with the name in the current context; there must be exactly one", kind, len(list))
	}
	entry, ok := list[0][kind].(map[string]any)
	if !ok {
		return fmt.Errorf("the current context's %s is empty or not a mapping", kind)
	}
	for _, field := range slices.Sorted(maps.Keys(entry)) {
		value := entry[field]
		if field == "extensions" { // harmless, because every reader ignores extensions that it doesn't know
			fields["uid"] = cmp.Or(uidIn(value), fields["uid"])
			continue
		}
		if !slices.Contains(allowed, field) {
			if set(value) {
				return fmt.Errorf("the current context's %s sets the field %s, which is not allowed; allowed: %s", kind, Quoted(field), strings.Join(allowed, ", "))
			}
			continue
		}
		text, ok := value.(string)
		if !ok && value != nil {
			return fmt.Errorf("%s is not a string", field)
		}
		if strings.HasSuffix(field, "-data") {
			data, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return fmt.Errorf("%s is not base64", field)
			}
			if len(data) > maxPEM {
				return fmt.Errorf("%s is larger than %d KiB", field, maxPEM>>10)
			}
			text = string(data)
		}
		fields[field] = text
	}
	return nil
}

// uidIn returns the cluster's UID in a list of extensions, or "" if there is none.
func uidIn(extensions any) string {
	list, _ := extensions.([]any)
	for _, item := range list {
		named, _ := item.(map[string]any)
		if extension, _ := named["extension"].(map[string]any); named["name"] == clusterExtension {
			uid, _ := extension["uid"].(string)
			return uid
		}
	}
	return ""
}

// set reports whether a field has a value: false, 0, "", null, and empty lists count as absent.
func set(value any) bool {
	v := reflect.ValueOf(value)
	list := v.Kind() == reflect.Slice || v.Kind() == reflect.Map
	return v.IsValid() && !v.IsZero() && (!list || v.Len() > 0)
}

// check rejects values that can never work.
func (c Config) check(keyless bool) error {
	ca, cert, key := c.TLS.CAData, c.TLS.CertData, c.TLS.KeyData
	_, pairErr := tls.X509KeyPair(cert, key)
	_, chainErr := certutil.ParseCertsPEM(cert) // X509KeyPair parses only the first certificate
	switch {
	case c.Namespace != "" && validation.IsDNS1123Label(c.Namespace) != nil:
		return errors.New("namespace is invalid: use 1 to 63 of the characters a-z 0-9 -, and start and end with a letter or digit")
	case c.TLS.ServerName != "" && !isHost(c.TLS.ServerName):
		return errors.New("tls-server-name is not a host name")
	// Like kubectl, accept a bundle if at least one of its certificates can be read.
	case len(ca) > 0 && !x509.NewCertPool().AppendCertsFromPEM(ca):
		return errors.New("certificate-authority-data contains no PEM certificate")
	case (len(cert) == 0) != (len(key) == 0):
		return errors.New("only one of client-certificate-data and client-key-data is set")
	case len(cert) > 0 && cmp.Or(pairErr, chainErr) != nil:
		return errors.New("client-certificate-data and client-key-data are not a PEM certificate and its key")
	}
	if err := kube.CheckToken(c.Token); c.Token != "" && err != nil {
		return err
	}
	if err := checkAddress("server", c.Server, "https"); err != nil {
		return err
	}
	if err := checkAddress("proxy-url", c.ProxyURL, "http", "https", "socks5"); c.ProxyURL != "" && err != nil {
		return err
	}
	if c.Keyless() && !keyless {
		return ErrKeyless
	}
	return nil
}

// ErrKeyless rejects a kubeconfig without credentials.
var ErrKeyless = errors.New("the current context's user has neither a token nor client-certificate-data; to use a kubeconfig without credentials, set --identity")

// checkAddress rejects text that isn't a URL to connect to, with one of these schemes, in printable
// ASCII.
func checkAddress(field, text string, schemes ...string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxAddress || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s is not an address like %s://host:port", field, schemes[0])
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "1"), 10, 16)
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return fmt.Errorf("%s does not start with %s://", field, strings.Join(schemes, "://, "))
	case err != nil || port == 0 || strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("%s has an invalid port: use 1 to 65535", field)
	case !isHost(u.Hostname()):
		return fmt.Errorf("%s contains no host name or IP address", field)
	case strings.ContainsAny(text, "?#") || u.User != nil && field == "server":
		return fmt.Errorf("%s contains more than a host, a port, and a path", field)
	}
	return nil
}

// isHost reports whether name is an IP address or a possible DNS name.
func isHost(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || validation.IsDNS1123SubdomainWithUnderscore(strings.ToLower(strings.TrimSuffix(name, "."))) == nil
}
