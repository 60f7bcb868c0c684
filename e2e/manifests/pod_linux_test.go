package manifests

import (
	"context"
	"encoding/json"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// shortBuild is a timeout that is long enough to build the binary and use it.
const shortBuild = 6 * time.Minute

// serviceAccount is the directory in which the kubelet mounts a pod's token.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// inCluster adds the files of a ServiceAccount to r, so that r looks like a container in a pod of
// the cluster. It returns the environment variables that the kubelet would set.
func (r root) inCluster(ctx context.Context, t *testing.T, cluster *testenv.Cluster, account string) []string {
	t.Helper()
	r.mount(t, serviceAccount+"token", 0o644, []byte(token(ctx, t, cluster, account)))
	r.mount(t, serviceAccount+"ca.crt", 0o644, cluster.Config().CAData)
	r.mount(t, serviceAccount+"namespace", 0o644, []byte(namespace))
	address, err := url.Parse(cluster.URL)
	testenv.Must(t, err)
	return []string{"KUBERNETES_SERVICE_HOST=" + address.Hostname(), "KUBERNETES_SERVICE_PORT=" + address.Port()}
}

// run starts the container as its manifest specifies, and returns when /livez returns 200. Only the
// listen address differs, because all processes share this machine.
func (r root) run(ctx context.Context, t *testing.T, c *corev1.Container, env []string) (p *contained, address string) {
	t.Helper()
	address, err := shared.Address()
	testenv.Must(t, err)
	p = r.start(t, env, append(c.Args, "--listen="+address)...)
	answers(ctx, t, p, "http://"+address+"/livez")
	return p, address
}

// answers waits until url returns 200. It fails the test if p ends first.
func answers(ctx context.Context, t *testing.T, p *contained, url string) {
	t.Helper()
	err := until(ctx, func(ctx context.Context) error {
		testenv.Must(t, p.alive())
		_, err := testenv.Get(ctx, url)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

func TestManifestsStartTheProgram(t *testing.T) {
	ctx := within(t, shortBuild)
	lab := shared.Cluster("lab")
	docker := readDockerfile(t)
	binary := shipped(ctx, t, docker)
	makeNamespace(ctx, t, lab)
	if _, err := lab.Put(ctx, namespace, shared.Keys.NewRepository(4, 3)); err != nil {
		t.Fatal(err)
	}
	for dir, account := range map[string]string{sidecarDir: "keystone-api", deploymentDir: "fernetcast-source"} {
		t.Run(dir, func(t *testing.T) {
			apply(ctx, t, lab, render(t, dir)...)
			pod := template(t, dir).Spec
			if pod.ServiceAccountName != account {
				t.Errorf("the pod runs as %s, want %s", pod.ServiceAccountName, account)
			}
			c := container(t, &pod)

			// run must not exit if there is no API server, because then the pod would fail.
			nowhere := newRoot(t, docker, binary, nil)
			p, _ := nowhere.run(ctx, t, c, nil)
			p.terminate(ctx, t)

			r := newRoot(t, docker, binary, nil)
			p, address := r.run(ctx, t, c, r.inCluster(ctx, t, lab, account))
			answers(ctx, t, p, "http://"+address+"/readyz")
			p.terminate(ctx, t)
		})
	}
}

func TestPortIsTheProgramsOwn(t *testing.T) {
	ctx := within(t, shortBuild)
	docker := readDockerfile(t)
	help := newRoot(t, docker, shipped(ctx, t, docker), nil).start(t, nil, "run", "--help")
	if code := help.wait(ctx, t); code != 0 {
		t.Fatalf("run --help: exit %d", code)
	}
	pod := template(t, sidecarDir).Spec
	port := strconv.Itoa(int(container(t, &pod).Ports[0].ContainerPort))
	listen := regexp.MustCompile(`--listen\b.*` + regexp.QuoteMeta(net.JoinHostPort("", port)))
	if !listen.MatchString(help.stdout.String()) {
		t.Errorf("the port %s in the manifests is not the default of --listen:\n%s", port, help.stdout.String())
	}
}

// withoutAuthority removes the CA from a kubeconfig.
func withoutAuthority(t *testing.T, kubeconfig []byte) []byte {
	t.Helper()
	config, err := clientcmd.Load(kubeconfig)
	testenv.Must(t, err)
	for _, cluster := range config.Clusters {
		cluster.CertificateAuthorityData = nil
	}
	kubeconfig, err = clientcmd.Write(*config)
	testenv.Must(t, err)
	return kubeconfig
}

func sourceState(t *testing.T, document string) string {
	t.Helper()
	var status testenv.Status
	if err := json.Unmarshal([]byte(document), &status); err != nil {
		t.Fatalf("reading the status %q: %v", document, err)
	}
	return status.Source.State
}
