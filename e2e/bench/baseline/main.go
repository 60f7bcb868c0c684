// Command baseline does the minimum that mirroring a Secret requires, so that fernetcast can be
// compared with it. When the source changes, it sends one PUT to each remote, all at once, on open
// connections, with the resourceVersion of the previous response.
//
// It checks nothing and retries nothing: the first error ends it. It is a separate process, so that
// it runs under the same conditions as fernetcast, and memory and first sync can be compared, too.
//
// Without flags, it doesn't stamp copies or watch remotes. With -stamp, it writes each copy's
// origin. With -watch, it watches each remote. fernetcast's design requires both, so the flags show
// what they would cost any program.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	secretName = "keystone-fernet-keys"
	// handshakes is the number of connections that the first sync opens concurrently: enough to
	// keep both sides busy, and few enough that none times out.
	handshakes = 100
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "of the source")
	clusters := flag.String("clusters", "", "a directory with the remotes' kubeconfigs")
	var m mirror
	flag.BoolVar(&m.stamp, "stamp", false, "stamp each copy")
	flag.BoolVar(&m.watch, "watch", false, "watch each remote")
	flag.Parse()
	// run returns only if it fails.
	fmt.Fprintln(os.Stderr, "baseline:", m.run(context.Background(), *kubeconfig, *clusters))
	os.Exit(1)
}

// mirror selects what the program does beyond the minimum.
type mirror struct{ stamp, watch bool }

// run creates a copy in every remote, which must not have one, and updates it until something
// fails.
func (m mirror) run(ctx context.Context, kubeconfig, clusters string) error {
	source, err := open(kubeconfig)
	if err != nil {
		return err
	}
	now, err := source.Get(ctx, secretName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	files, err := os.ReadDir(clusters)
	if err != nil {
		return fmt.Errorf("reading the remotes: %w", err)
	}
	copies := make([]*copyOf, len(files))
	var all, first errgroup.Group
	first.SetLimit(handshakes)
	for i, file := range files {
		first.Go(func() (err error) {
			copies[i], err = m.create(ctx, filepath.Join(clusters, file.Name()), now)
			return err
		})
	}
	if err := first.Wait(); err != nil {
		return err
	}
	events, err := follow(ctx, source, now)
	if err != nil {
		return fmt.Errorf("watching the source: %w", err)
	}
	for event := range events.ResultChan() {
		secret, ok := event.Object.(*corev1.Secret)
		if !ok {
			return fmt.Errorf("watching the source: got %v", event)
		}
		annotations := m.annotations(secret)
		for _, c := range copies {
			all.Go(func() error { return c.put(ctx, secret.Data, annotations) })
		}
		if err := all.Wait(); err != nil {
			return err
		}
	}
	return errors.New("watching the source: the watch ended")
}

// copyOf is a remote's Secret, as the last response returned it.
type copyOf struct {
	secrets corev1client.SecretInterface
	secret  *corev1.Secret
}

// annotations returns the annotations of a copy.
func (m mirror) annotations(source *corev1.Secret) map[string]string {
	if !m.stamp {
		return nil
	}
	var prints []string
	for index, key := range source.Data {
		prints = append(prints, fmt.Sprintf("%s=%.4x", index, sha256.Sum256(key)))
	}
	return map[string]string{
		"fernetcast/region":                  "sjc",
		"fernetcast/term":                    "1",
		"fernetcast/source-uid":              string(source.UID),
		"fernetcast/source-resource-version": source.ResourceVersion,
		"fernetcast/keys":                    strings.Join(prints, ","),
	}
}

// follow watches a Secret, starting after the given version.
func follow(ctx context.Context, secrets corev1client.SecretInterface, from *corev1.Secret) (watch.Interface, error) {
	return secrets.Watch(ctx, metav1.ListOptions{
		ResourceVersion: from.ResourceVersion,
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, secretName).String(),
	})
}

// create creates the Secret in one request, which also opens the connection.
func (m mirror) create(ctx context.Context, kubeconfig string, source *corev1.Secret) (*copyOf, error) {
	secrets, err := open(kubeconfig)
	if err != nil {
		return nil, err
	}
	absent := corev1apply.Secret(secretName, "").WithResourceVersion("1").WithType(corev1.SecretTypeOpaque).
		WithData(source.Data).WithAnnotations(m.annotations(source))
	absent.Namespace = nil // the request's path has the namespace
	secret, err := secrets.Apply(ctx, absent, metav1.ApplyOptions{FieldManager: "baseline"})
	if err != nil {
		return nil, fmt.Errorf("creating a copy: %w", err)
	}
	if m.watch {
		events, err := follow(ctx, secrets, secret)
		if err != nil {
			return nil, fmt.Errorf("watching a copy: %w", err)
		}
		go func() {
			for range events.ResultChan() { // discard events
			}
			fmt.Fprintln(os.Stderr, "baseline: the watch of a copy ended")
			os.Exit(1)
		}()
	}
	return &copyOf{secrets, secret}, nil
}

func (c *copyOf) put(ctx context.Context, keys map[string][]byte, annotations map[string]string) error {
	c.secret.Data, c.secret.Annotations, c.secret.ManagedFields = keys, annotations, nil
	written, err := c.secrets.Update(ctx, c.secret, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("writing a copy: %w", err)
	}
	c.secret = written
	return nil
}

// open returns a client with its own connection and the fastest encoding.
func open(kubeconfig string) (corev1client.SecretInterface, error) {
	loaded, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	access := clientcmd.NewDefaultClientConfig(*loaded, nil)
	config, err := access.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	namespace, _, err := access.Namespace()
	if err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	config.UserAgent = "baseline"
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	// client-go doesn't share connections between clients with a Proxy function.
	config.Proxy = http.ProxyFromEnvironment
	client, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	return client.Secrets(namespace), nil
}
