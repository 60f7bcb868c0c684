package access

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// Shell completion gets the names of remotes from the Secret in the main region. If the API server
// there doesn't answer, completion soon gives up, without any output.
func TestCompletion(t *testing.T) {
	s := newStage(t)
	_, err := shared.Cluster("sjc").Client().CoreV1().Secrets(s.NS).Create(s.Ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: clustersSecret},
		Data:       map[string][]byte{"dfw.yaml": nil, "iad.yaml": nil, ".hidden": nil},
	}, metav1.CreateOptions{})
	s.Must(err)
	proxy, err := shared.Cluster("sjc").Proxy()
	s.Must(err)
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	config.Clusters["sjc"].Server = proxy.URL()
	slow := filepath.Join(t.TempDir(), "config")
	s.Must(clientcmd.WriteToFile(*config, slow))

	for args, want := range map[string]string{
		"push ":             "dfw\niad\n:4\n",
		"push dfw ":         "iad\n:4\n",
		"wait iad ":         "dfw\n:4\n",
		"promote --ignore ": "dfw\niad\n:4\n",
	} {
		r, err := s.fernetcast.Run(s.Ctx, append([]string{"__complete"}, append([]string{"--kubeconfig", slow}, strings.Split(args, " ")...)...)...)
		s.Must(err)
		if r.Stdout != want {
			t.Errorf("%q completes with %q, want %q", args, r.Stdout, want)
		}
	}

	const withoutBound = 8 * time.Second // an unbounded request would take 10 s
	if err := proxy.Set(testenv.Hold); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	r := s.exits(0, "__complete", "--kubeconfig", slow, "push", "")
	if took := time.Since(begun); r.Stdout != ":4\n" || strings.Contains(r.Stderr, "error") || took > withoutBound {
		t.Errorf("if the main region doesn't answer: %q, %q after %s", r.Stdout, r.Stderr, took)
	}
}
