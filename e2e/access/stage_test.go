// Package access tests the commands that give a main region access to remotes, maintain that
// access, and remove it, on real control planes with real RBAC. sjc and ord are main regions, and
// dfw and iad are remotes. Each test has its own namespace in all of them.
package access

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// testTime is the timeout of a test.
	testTime = 10 * time.Minute
	// clustersSecret is the name of the Secret in which join stores the remotes' kubeconfigs.
	clustersSecret = "fernetcast-clusters"
)

var shared *testenv.Env

func TestMain(m *testing.M) { os.Exit(testenv.Main(m, &shared, "sjc", "ord", "dfw", "iad")) }

// stage is the setup of one test: a namespace in every cluster, and an operator who has an
// administrator's context for each cluster. The operator's main region is sjc.
type stage struct {
	*testenv.Stage
	// kubeconfig is the path of the operator's kubeconfig. Its contexts are named after the
	// clusters.
	kubeconfig string
	fernetcast *testenv.Program
}

// newStage returns the setup of a test that runs in parallel with others.
func newStage(t *testing.T) *stage {
	t.Helper()
	t.Parallel()
	return newAlone(t)
}

// newAlone returns the setup of a test that restarts or reconfigures a server, and therefore must
// not run in parallel with others.
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

// main creates keys in a cluster and promotes it.
func (s *stage) main(region string) testenv.Repository {
	s.Helper()
	keys := s.Keys(region, 7)
	s.exits(0, "--context", region, "promote", region, "--yes")
	return keys
}

// exits runs a command. It checks that the command exits with the given code, that its output
// contains no keys, and that commands in its output name the right cluster and namespace.
func (s *stage) exits(code int, args ...string) testenv.Result {
	s.Helper()
	r := s.Exits(code, s.fernetcast, args...)
	context := ""
	if i := slices.Index(args, "--context"); i >= 0 {
		context = " --context " + args[i+1]
	}
	if slices.Contains(args, "--help") { // the examples in the help aren't for this cluster
		return r
	}
	for _, command := range suggested.FindAllString(strings.ReplaceAll(r.Stdout+r.Stderr, "Run 'fernetcast", ""), -1) {
		if strings.HasPrefix(command, "fernetcast") && !strings.Contains(command, context+" --namespace "+s.NS) && !slices.Contains(args, "--namespace") ||
			strings.HasPrefix(command, "kubectl") && !strings.Contains(command, cmp.Or(context, "kubectl ")) && !strings.Contains(command, " --context ") {
			s.Errorf("%v suggests %q for another cluster", args, command)
		}
	}
	return r
}

// suggested matches the start of a suggested command, up to its verb. Commands after "-- " run in a pod.
var suggested = regexp.MustCompile(`(?:-- )?fernetcast(?: --\S+ \S+)* (?:check|join|leave|promote|push|recover|renew|status|wait)\b|kubectl (?:--\S+ \S+ )*[a-z]+`)

// says checks that text contains all parts.
func (s *stage) says(text string, parts ...string) {
	s.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// entry returns the kubeconfig that a main region has stored for a remote, or nil if there is none.
func (s *stage) entry(region, remote string) []byte {
	s.Helper()
	secret, err := shared.Cluster(region).Client().CoreV1().Secrets(s.NS).Get(s.Ctx, clustersSecret, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return secret.Data[remote+".yaml"]
}

// decode decodes a command's JSON output.
func (s *stage) decode(text string, into any) {
	s.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		s.Fatalf("%v in:\n%s", err, text)
	}
}

// cluster returns the cluster of a region.
func (s *stage) cluster(region string) *testenv.Cluster { return shared.Cluster(region) }

// join joins a remote to a main region. It passes --server, because join accepts a loopback address
// only from that flag.
func (s *stage) join(region, remote string, flags ...string) testenv.Result {
	s.Helper()
	return s.exits(0, s.joinArgs(region, remote, flags...)...)
}

func (s *stage) joinArgs(region, remote string, flags ...string) []string {
	return append([]string{"--context", region, "join", remote, "--remote-context", remote, "--server", s.cluster(remote).URL, "--yes"}, flags...)
}

// runs starts run in a region as in a pod: with the sidecar's permissions, and with the stored
// kubeconfigs and tokens mounted. It returns the address that run listens on.
func (s *stage) runs(region string, flags ...string) (address string) {
	s.Helper()
	_, address = s.starts(region, flags...)
	return address
}

// starts is like runs, but also returns the process.
func (s *stage) starts(region string, flags ...string) (process *testenv.Process, address string) {
	s.Helper()
	site := s.At(s.Raced(), region)
	s.cluster(region).Mount(s.T, s.NS, clustersSecret, site.Clusters, 0o600)
	tokens := s.TempDir()
	s.cluster(region).Mount(s.T, s.NS, "fernetcast-tokens", tokens, 0o600)
	return site.StartRun(s.T, append([]string{"--tokens", tokens}, flags...)...)
}

// snapshot returns everything that commands could change in the clusters, without managedFields.
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

// reach changes the server's address in the operator's context for a cluster.
func (s *stage) reach(region, server string) {
	s.Helper()
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	config.Clusters[region].Server = server
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
}
