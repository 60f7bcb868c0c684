package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// program describes a program that runs on the node. Command inside reads it from programs.json.
type program struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
	Env  []string `json:"env"`
}

const containerdConfig = `version = 2
root = "DIR/containerd"
state = "DIR/run"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "DIR/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "REGISTRY/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "PLUGINS"
    conf_dir = "DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."REGISTRY"]
    endpoint = ["http://REGISTRY"]
`

const networkConfig = `{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
 "ipam": {"type": "host-local", "dataDir": "DIR/ipam", "ranges": [[{"subnet": "PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`

// kubeletConfig keeps Kubernetes' defaults for everything that affects pods, especially the delay
// before they see a changed Secret.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://DIR/containerd.sock
failCgroupV1: false
cgroupDriver: cgroupfs
failSwapOn: false
address: ADDRESS
healthzBindAddress: 127.0.0.1
tlsCertFile: DIR/MAIN/kubelet.crt
tlsPrivateKeyFile: DIR/MAIN/kubelet.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: DIR/MAIN/ca.crt}}
authorization: {mode: Webhook}
resolvConf: /etc/resolv.conf
makeIPTablesUtilChains: false
podLogsDir: DIR/podlogs
volumePluginDir: DIR/volumeplugins
evictionHard: {memory.available: 50Mi, nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
`

// configure writes the files that the programs need, and programs.json.
func (n *Node) configure(ctx context.Context, env *testenv.Env) error {
	paths := map[string]string{}
	for _, name := range append([]string{"etcd", "kube-apiserver"}, Tools...) {
		path, err := env.Tool(ctx, name)
		if err != nil {
			return err
		}
		paths[name] = path
	}
	main := n.regions[0]
	fill := strings.NewReplacer("DIR", n.dir, "REGISTRY", registryAddress, "PLUGINS", plugins(), "PODS", pods, "ADDRESS", serviceAddress, "MAIN", main.name)
	for file, text := range map[string]string{"containerd.toml": containerdConfig, "cni/10-pods.conflist": networkConfig, "kubelet.yaml": kubeletConfig} {
		path := filepath.Join(n.dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(fill.Replace(text)), 0o644)); err != nil {
			return fmt.Errorf("configuring the node: %w", err)
		}
	}
	programs := []program{
		{Name: "etcd", Args: []string{
			paths["etcd"], "--data-dir=" + n.dir + "/etcd", "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380", "--log-level=warn", "--unsafe-no-fsync",
		}},
		{Name: "containerd", Args: []string{"containerd", "--config", n.dir + "/containerd.toml"}},
	}
	for i, r := range n.regions {
		programs = append(programs, r.apiserver(paths["kube-apiserver"], i == 0))
	}
	programs = append(programs,
		program{Name: "controllers", Args: []string{
			paths["kube-controller-manager"], "--kubeconfig=" + main.file("controller.kubeconfig"), "--leader-elect=false", "--use-service-account-credentials=true",
			"--service-account-private-key-file=" + main.file("sa.key"), "--root-ca-file=" + main.file("ca.crt"), "--bind-address=127.0.0.1",
		}},
		program{Name: "scheduler", Args: []string{paths["kube-scheduler"], "--kubeconfig=" + main.file("scheduler.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1"}},
		program{Name: "kubelet", Args: []string{
			paths["kubelet"], "--config=" + n.dir + "/kubelet.yaml", "--kubeconfig=" + main.file("node.kubeconfig"), "--hostname-override=" + nodeName,
			"--node-ip=" + serviceAddress, "--root-dir=" + n.dir + "/kubelet", "--cert-dir=" + main.dir,
		}},
	)
	text, err := json.Marshal(programs)
	if err != nil {
		return fmt.Errorf("writing programs.json: %w", err)
	}
	return testenv.WriteFile(n.dir, "programs.json", text)
}
