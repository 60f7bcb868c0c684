package access

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// gate is manifests/rotation-gate in the main's namespace: its arguments, and the program
// that signs in as its account.
func (s *stage) gate() (args []string, program *testenv.Program) {
	s.Helper()
	text, err := os.ReadFile("../../manifests/rotation-gate/rbac.yaml")
	s.must(err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), len(text))
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			break
		} else {
			s.must(err)
		}
		o.SetNamespace(s.ns)
		if o.GetKind() == "RoleBinding" {
			for _, subject := range o.Object["subjects"].([]any) {
				subject.(map[string]any)["namespace"] = s.ns
			}
		}
		s.must(testenv.Apply(s.ctx, s.cluster("sjc").Config(), s.ns, o))
	}
	account := metav1.ObjectMeta{Name: "keystone-fernet-rotate", Namespace: s.ns}
	_, err = s.cluster("sjc").Client().CoreV1().ServiceAccounts(s.ns).Create(s.ctx, &corev1.ServiceAccount{ObjectMeta: account}, metav1.CreateOptions{})
	s.must(err)
	token, err := s.cluster("sjc").Request(s.ctx, account, time.Hour)
	s.must(err)
	kubeconfig := filepath.Join(s.TempDir(), "gate")
	data, err := s.cluster("sjc").TokenKubeconfig(s.ns, account.Name, token)
	s.must(err)
	s.must(os.WriteFile(kubeconfig, data, 0o600))

	text, err = os.ReadFile("../../manifests/rotation-gate/container.yaml")
	s.must(err)
	var job batchv1.CronJob
	s.must(yaml.Unmarshal(text, &job))
	for _, arg := range job.Spec.JobTemplate.Spec.Template.Spec.InitContainers[0].Args {
		if !strings.HasPrefix(arg, "--clusters=") { // what its pod mounts
			args = append(args, arg)
		}
	}
	clusters, _ := s.directory()
	return append(args, "--clusters", clusters, "--settle", "0"), s.fernetcast.WithEnv("KUBECONFIG=" + kubeconfig)
}

// The rotation gate lets a rotation pass where a remote has no stored credentials, by
// tokens that its own account requests.
func TestGateOfAKeylessRemote(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	s.identifies("sjc")
	s.trusts("dfw", "sjc")
	s.runs("sjc", byIdentity...)
	s.join("sjc", "dfw", "--keyless", "--request-timeout", "1m")
	s.join("sjc", "iad")
	args, program := s.gate()
	r, err := program.Run(s.ctx, append(args, "--timeout", "30s")...)
	s.must(err)
	s.says(r.Stdout, "2 of 2 remotes have held the source's keys")
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	// Without its right to a token, it waits and names the reason.
	roles := s.cluster("sjc").Client().RbacV1().Roles(s.ns)
	role, err := roles.Get(s.ctx, "fernetcast-rotation-gate", metav1.GetOptions{})
	s.must(err)
	role.Rules = []rbacv1.PolicyRule{role.Rules[0]}
	_, err = roles.Update(s.ctx, role, metav1.UpdateOptions{})
	s.must(err)
	r, err = program.Run(s.ctx, append(args, "--timeout", "5s")...)
	s.must(err)
	s.says(r.Stdout, "the main makes no token of ServiceAccount "+s.ns+"/"+identity, "403")
	if r.Code != 1 {
		t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}
