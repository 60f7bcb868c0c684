// Package access proves the commands that let a region in, look after its access and
// take it back, on real control planes with real RBAC: sjc and ord are mains, dfw and
// iad are remotes. Each test has a namespace of its own in all of them.
package access

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// testTime ends a test that hangs.
	testTime = 10 * time.Minute
	// clustersSecret is where join stores the remotes' kubeconfigs.
	clustersSecret = "fernetcast-clusters"
)

var shared *testenv.Env

func TestMain(m *testing.M) { os.Exit(testenv.Main(m, &shared, "sjc", "ord", "dfw", "iad")) }

// stage is one test's: a namespace in every cluster, and a person with a context of
// an administrator for each, whose main is sjc.
type stage struct {
	*testenv.Stage
	// kubeconfig is the person's file. Its contexts are named after the clusters.
	kubeconfig string
	fernetcast *testenv.Program
}

// Tests that have one run beside each other.
func newStage(t *testing.T) *stage {
	t.Helper()
	t.Parallel()
	return newAlone(t)
}

// newAlone is for a test that restarts or reconfigures a server, beside no other test.
func newAlone(t *testing.T) *stage {
	t.Helper()
	s := &stage{Stage: shared.Stage(t, "a", testTime), kubeconfig: filepath.Join(t.TempDir(), "config")}
	all := clientcmdapi.NewConfig()
	for _, cluster := range shared.Clusters() {
		data, err := cluster.AdminKubeconfig("")
		s.Must(err)
		one, err := clientcmd.Load(data)
		s.Must(err)
		all.Clusters[cluster.Name] = one.Clusters[cluster.Name]
		all.AuthInfos[cluster.Name] = one.AuthInfos["admin"]
		all.Contexts[cluster.Name] = &clientcmdapi.Context{Cluster: cluster.Name, AuthInfo: cluster.Name}
	}
	all.CurrentContext = "sjc"
	s.Must(clientcmd.WriteToFile(*all, s.kubeconfig))
	s.fernetcast = s.Raced().With("--namespace", s.NS).WithEnv("KUBECONFIG=" + s.kubeconfig)
	return s
}

// main puts keys in use into a cluster and makes it the main.
func (s *stage) main(region string) testenv.Repository {
	s.Helper()
	keys := s.Keys(region, 7)
	s.exits(0, "--context", region, "promote", region, "--yes")
	return keys
}

// exits runs a command that has to end with the code. No output may show a key.
func (s *stage) exits(code int, args ...string) testenv.Result {
	s.Helper()
	return s.Exits(code, s.fernetcast, args...)
}

// says fails the test where a text lacks one of these parts.
func (s *stage) says(text string, parts ...string) {
	s.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// entry is what a main has stored of a remote; nil where there is none.
func (s *stage) entry(region, remote string) []byte {
	s.Helper()
	secret, err := shared.Cluster(region).Client().CoreV1().Secrets(s.NS).Get(s.Ctx, clustersSecret, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return secret.Data[remote+".yaml"]
}

// decode reads a command's JSON.
func (s *stage) decode(text string, into any) {
	s.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		s.Fatalf("%v in:\n%s", err, text)
	}
}

// cluster is one of the regions.
func (s *stage) cluster(region string) *testenv.Cluster { return shared.Cluster(region) }

// join lets a remote into a main, at its loopback address, which has to be named.
func (s *stage) join(region, remote string, flags ...string) testenv.Result {
	s.Helper()
	return s.exits(0, s.joinArgs(region, remote, flags...)...)
}

func (s *stage) joinArgs(region, remote string, flags ...string) []string {
	return append([]string{"--context", region, "join", remote, "--remote-context", remote, "--server", s.cluster(remote).URL, "--yes"}, flags...)
}

// runs starts run in a region as its pod does: with the sidecar's rights, and with
// the stored kubeconfigs and tokens mounted.
func (s *stage) runs(region string, flags ...string) (address string) {
	s.Helper()
	_, address = s.starts(region, flags...)
	return address
}

// starts is runs, with the process.
func (s *stage) starts(region string, flags ...string) (process *testenv.Process, address string) {
	s.Helper()
	site := s.At(s.Raced(), region)
	s.cluster(region).Mount(s.T, s.NS, clustersSecret, site.Clusters, 0o600)
	tokens := s.TempDir()
	s.cluster(region).Mount(s.T, s.NS, "fernetcast-tokens", tokens, 0o600)
	return site.StartRun(s.T, append([]string{"--tokens", tokens}, flags...)...)
}

// snapshot is all that a person's commands could change in a cluster, but for the
// managedFields.
func (s *stage) snapshot(regions ...string) string {
	s.Helper()
	var all []string
	for _, region := range regions {
		client := s.cluster(region).Client()
		accounts, err := client.CoreV1().ServiceAccounts(s.NS).List(s.Ctx, metav1.ListOptions{})
		s.Must(err)
		secrets, err := client.CoreV1().Secrets(s.NS).List(s.Ctx, metav1.ListOptions{})
		s.Must(err)
		roles, err := client.RbacV1().Roles(s.NS).List(s.Ctx, metav1.ListOptions{})
		s.Must(err)
		bindings, err := client.RbacV1().RoleBindings(s.NS).List(s.Ctx, metav1.ListOptions{})
		s.Must(err)
		for _, o := range accounts.Items {
			all = append(all, region+" account "+o.Name+" "+string(o.UID))
		}
		for _, o := range secrets.Items {
			all = append(all, region+" secret "+o.Name+" "+o.ResourceVersion)
		}
		for _, o := range roles.Items {
			all = append(all, region+" role "+o.Name+" "+o.ResourceVersion)
		}
		for _, o := range bindings.Items {
			all = append(all, region+" binding "+o.Name+" "+o.ResourceVersion)
		}
	}
	return strings.Join(all, "\n")
}

// reach has the person's context of a cluster lead to another address.
func (s *stage) reach(region, server string) {
	s.Helper()
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	config.Clusters[region].Server = server
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
}
