package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// directoryPrefix is the prefix of the names of nodes' directories and cgroups.
const directoryPrefix = "fernetcast-node-"

// Node is a running node. Its methods are safe for concurrent use.
type Node struct {
	dir     string
	pid     int // PID of the node's first process
	regions []*region
	guard   *exec.Cmd
	leash   io.Closer // the guard's stdin: closing it ends the node
	images  *registry
}

// Start starts the control planes of the named regions, and a node that belongs to the first
// region. It returns when the node can run pods. The caller must call Close. If the process is
// killed first, the node is stopped and removed, too.
func Start(ctx context.Context, env *testenv.Env, names ...string) (n *Node, err error) {
	inside, err := env.Companion(ctx, "node/inside")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", directoryPrefix)
	if err != nil {
		return nil, fmt.Errorf("creating the node's directory: %w", err)
	}
	n = &Node{dir: dir}
	if err := n.start(ctx, env, inside.Path, names); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, env *testenv.Env, inside string, names []string) error {
	for i, name := range names {
		port := 443
		if i > 0 {
			port = 6443 + i
		}
		r, err := newRegion(n.dir, name, port)
		if err != nil {
			return err
		}
		n.regions = append(n.regions, r)
	}
	if err := n.configure(ctx, env); err != nil {
		return err
	}
	if err := n.unleash(inside); err != nil {
		return err
	}
	var err error
	if n.images, err = n.openRegistry(ctx, env); err != nil {
		return err
	}
	for _, r := range n.regions {
		if err := n.openOutside(r); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for _, r := range n.regions {
		client, err := n.Client(r.name)
		if err != nil {
			return err
		}
		err = testenv.Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
			return client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		})
		if err != nil {
			return fmt.Errorf("starting the control plane of %s: %w\n%s", r.name, err, n.Log("apiserver-"+r.name))
		}
	}
	return n.awaitReady(ctx)
}

// unleash starts the guard process, which starts the node.
func (n *Node) unleash(inside string) error {
	n.guard = exec.Command(inside, "guard", n.dir)
	// In a session of its own, the guard survives when all processes of the test are killed.
	n.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	n.guard.Stderr = os.Stderr
	leash, err := n.guard.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting the node: %w", err)
	}
	out, err := n.guard.StdoutPipe()
	if err != nil {
		return fmt.Errorf("starting the node: %w", err)
	}
	if err := n.guard.Start(); err != nil {
		return fmt.Errorf("starting the node: %w", err)
	}
	n.leash = leash
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		n.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		return fmt.Errorf("starting the node: the guard printed %q: %w", line, err)
	}
	return nil
}

// awaitReady waits until the node is Ready, and the ServiceAccount exists that pods need.
func (n *Node) awaitReady(ctx context.Context) error {
	client, err := n.Client(n.regions[0].name)
	if err != nil {
		return err
	}
	err = testenv.Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("the node is not ready: %v", node.Status.Conditions)
	})
	if err != nil {
		return fmt.Errorf("starting the kubelet: %w\n%s\n%s", err, n.Log("kubelet"), n.Log("node"))
	}
	return nil
}

// Close stops the node and returns when everything that belongs to it is removed.
func (n *Node) Close() error {
	if n.images != nil {
		n.images.close()
	}
	for _, r := range n.regions {
		r.closeOutside()
	}
	if n.leash == nil {
		return os.RemoveAll(n.dir)
	}
	if err := n.leash.Close(); err != nil {
		return fmt.Errorf("ending the node: %w", err)
	}
	if err := n.guard.Wait(); err != nil {
		return fmt.Errorf("ending the node: %w", err)
	}
	return nil
}

// Log returns the last lines in the log of the named program.
func (n *Node) Log(name string) string {
	text, err := os.ReadFile(filepath.Join(n.dir, name+".log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// Config returns an admin configuration for a region.
func (n *Node) Config(region string) (*rest.Config, error) {
	cfg, err := clientcmd.NewNonInteractiveClientConfig(n.merged(), region, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("creating a client of %s: %w", region, err)
	}
	cfg.Dial, cfg.QPS = n.Dial, -1
	return cfg, nil
}

// Client returns an admin client for a region.
func (n *Node) Client(region string) (*kubernetes.Clientset, error) {
	cfg, err := n.Config(region)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

// merged returns an admin kubeconfig with a context for each region.
func (n *Node) merged() clientcmdapi.Config {
	all := clientcmdapi.NewConfig()
	for _, r := range n.regions {
		one := r.userKubeconfig("admin")
		all.Clusters[r.name], all.Contexts[r.name] = one.Clusters[r.name], one.Contexts[r.name]
		for name, user := range one.AuthInfos {
			all.AuthInfos[name] = user
		}
	}
	return *all
}

// Kubeconfig writes the admin kubeconfig to a file and returns its path.
func (n *Node) Kubeconfig() (string, error) {
	path := filepath.Join(n.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(n.merged(), path); err != nil {
		return "", fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return path, nil
}

// TokenKubeconfig returns a kubeconfig for clients in the node's network, with a token for a region
// and a namespace.
func (n *Node) TokenKubeconfig(region, namespace, token string) ([]byte, error) {
	r, err := n.region(region)
	if err != nil {
		return nil, err
	}
	return r.tokenKubeconfig(r.address(), namespace, token)
}

// OutsideKubeconfig returns a kubeconfig like TokenKubeconfig's, for clients in this process's
// network.
func (n *Node) OutsideKubeconfig(region, namespace, token string) ([]byte, error) {
	r, err := n.region(region)
	if err != nil {
		return nil, err
	}
	return r.tokenKubeconfig(r.outside.Addr().String(), namespace, token)
}

func (n *Node) region(name string) (*region, error) {
	for _, r := range n.regions {
		if r.name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("there is no region %s", name)
}

// HTTP returns an HTTP client that connects from the node's network.
func (n *Node) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.Dial, MaxIdleConnsPerHost: 20}, Timeout: 20 * time.Second}
}

// Command returns a command that runs in the node's network, but with this machine's file system.
func (n *Node) Command(ctx context.Context, path string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(n.pid), "--net", "--", path}, args...)...)
}

// Dir returns the directory that contains all files of the node. Close removes it.
func (n *Node) Dir() string { return n.dir }
