package testenv_test

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// client returns a client with the given access, and the namespace in the client's kubeconfig.
func client(t *testing.T, cluster *testenv.Cluster, access testenv.Access) (kubernetes.Interface, string) {
	t.Helper()
	data, err := cluster.Kubeconfig(t.Context(), access)
	testenv.Must(t, err)
	loaded, err := clientcmd.Load(data)
	testenv.Must(t, err)
	config, err := clientcmd.NewDefaultClientConfig(*loaded, nil).ClientConfig()
	testenv.Must(t, err)
	config.QPS = -1
	config.Dial = (&net.Dialer{}).DialContext // a custom dialer keeps client-go from sharing connections between clients
	client, err := kubernetes.NewForConfig(config)
	testenv.Must(t, err)
	return client, loaded.Contexts[loaded.CurrentContext].Namespace
}

func TestRolesAllowWhatTheySayAndNoMore(t *testing.T) {
	cluster, namespace, _ := place(t, "sjc")
	name := metav1.ListOptions{FieldSelector: "metadata.name=" + testenv.SecretName}
	ctx := t.Context()
	verbs := map[string]func(kubernetes.Interface) error{
		"get": func(c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets(namespace).Get(ctx, testenv.SecretName, metav1.GetOptions{})
			return err
		},
		"list": func(c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets(namespace).List(ctx, name)
			return err
		},
		"watch": func(c kubernetes.Interface) error {
			w, err := c.CoreV1().Secrets(namespace).Watch(ctx, name)
			if err == nil {
				w.Stop()
			}
			return err
		},
		"update": func(c kubernetes.Interface) error {
			secret, err := cluster.Secret(ctx, namespace)
			testenv.Must(t, err)
			_, err = c.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
			return err
		},
		"apply": func(c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets(namespace).Apply(ctx, corev1apply.Secret(testenv.SecretName, namespace),
				metav1.ApplyOptions{FieldManager: "test"})
			return err
		},
		"list all": func(c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
			return err
		},
	}
	for role, allowed := range map[testenv.Role]map[string]bool{
		testenv.RemoteRole:    {"get": true, "list": true, "watch": true, "update": true, "apply": true},
		testenv.GenestackRole: {"get": true, "list": true, "update": true, "apply": true},
		testenv.NoUpdateRole:  {"get": true, "list": true, "watch": true, "apply": true},
		testenv.NoRole:        {},
		testenv.SidecarRole:   {"get": true, "list": true, "watch": true},
		testenv.OperatorRole:  {"get": true, "list": true, "watch": true, "update": true},
	} {
		c, in := client(t, cluster, testenv.Access{Namespace: namespace, Role: role})
		if in != namespace {
			t.Errorf("%s: the kubeconfig's namespace is %q, want %q", role, in, namespace)
		}
		for verb, try := range verbs {
			if err := try(c); allowed[verb] && err != nil || !allowed[verb] && !apierrors.IsForbidden(err) {
				t.Errorf("%s: %s: %v, want allowed: %t", role, verb, err, allowed[verb])
			}
		}
	}
}

func TestCredentialsEnd(t *testing.T) {
	cluster, namespace, _ := place(t, "sjc")
	access := testenv.Access{Namespace: namespace, Role: testenv.RemoteRole, NoNamespace: true}
	c, in := client(t, cluster, access)
	if in != "" {
		t.Errorf("the kubeconfig has the namespace %q, want none", in)
	}
	read := func(ctx context.Context) error {
		_, err := c.CoreV1().Secrets(namespace).Get(ctx, testenv.SecretName, metav1.GetOptions{})
		return err
	}
	becomes := func(is func(error) bool) {
		t.Helper()
		testenv.Must(t, testenv.Until(deadline(t), 100*time.Millisecond, func(ctx context.Context) error {
			if err := read(ctx); !is(err) {
				return context.DeadlineExceeded
			}
			return nil
		}))
	}
	testenv.Must(t, read(t.Context()))
	testenv.Must(t, cluster.Forbid(t.Context(), namespace, testenv.RemoteRole))
	becomes(apierrors.IsForbidden)
	testenv.Must(t, cluster.Revoke(t.Context(), namespace, testenv.RemoteRole))
	becomes(apierrors.IsUnauthorized)
	c, _ = client(t, cluster, access)
	becomes(func(err error) bool { return err == nil })
}

func TestProxyFaults(t *testing.T) {
	cluster, namespace, _ := place(t, "dfw")
	proxy, err := cluster.Proxy()
	testenv.Must(t, err)
	defer proxy.Close()
	access := testenv.Access{Namespace: namespace, Role: testenv.RemoteRole, Server: proxy.URL()}
	c, _ := client(t, cluster, access)
	read := func(timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		_, err := c.CoreV1().Secrets(namespace).Get(ctx, testenv.SecretName, metav1.GetOptions{})
		return err
	}
	long, short := time.Minute, 500*time.Millisecond
	testenv.Must(t, read(long))

	testenv.Must(t, proxy.Set(testenv.Hold))
	held := make(chan error, 1)
	go func() { held <- read(long) }()
	if err := read(short); err == nil {
		t.Error("got a response through Hold")
	}
	testenv.Must(t, proxy.Set(testenv.Pass))
	testenv.Must(t, <-held)

	testenv.Must(t, proxy.Set(testenv.Drop))
	if err := read(short); err == nil {
		t.Error("got a response through Drop")
	}
	testenv.Must(t, proxy.Set(testenv.Pass))
	if err := read(short); err == nil {
		t.Error("a connection with lost data worked again")
	}
	c, _ = client(t, cluster, access)
	testenv.Must(t, read(long))

	testenv.Must(t, proxy.Set(testenv.Refuse))
	if err := read(long); err == nil {
		t.Error("got a response through Refuse")
	}
	testenv.Must(t, testenv.Until(deadline(t), time.Millisecond, func(context.Context) error {
		if proxy.Connections() > 0 {
			return context.DeadlineExceeded
		}
		return nil
	}))
	testenv.Must(t, proxy.Set(testenv.Pass))
	testenv.Must(t, read(long))

	proxy.Lose()
	if err := read(short); err == nil {
		t.Error("got a response through a lost connection")
	}
	if n := proxy.Connections(); n != 1 {
		t.Errorf("%d connections are open, want only the lost one", n)
	}
	c, _ = client(t, cluster, access)
	testenv.Must(t, read(long))
}

// A delay adds latency without reducing throughput, because several requests can be in transit at
// once.
func TestProxyDelay(t *testing.T) {
	cluster, namespace, _ := place(t, "dfw")
	proxy, err := cluster.Proxy()
	testenv.Must(t, err)
	defer proxy.Close()
	c, _ := client(t, cluster, testenv.Access{Namespace: namespace, Role: testenv.RemoteRole, Server: proxy.URL()})
	ctx := deadline(t)
	read := func() (time.Duration, error) {
		began := time.Now()
		_, err := c.CoreV1().Secrets(namespace).Get(ctx, testenv.SecretName, metav1.GetOptions{})
		return time.Since(began), err
	}
	_, err = read()
	testenv.Must(t, err)
	const way = time.Second
	proxy.Delay(way)
	tick := time.NewTicker(way / 20)
	defer tick.Stop()
	var requests errgroup.Group
	for range 10 {
		<-tick.C
		requests.Go(func() error {
			took, err := read()
			if took < 2*way || took > 2*way+way/2 {
				t.Errorf("a request took %v with a round trip of %v", took, 2*way)
			}
			return err
		})
	}
	testenv.Must(t, requests.Wait())
}
