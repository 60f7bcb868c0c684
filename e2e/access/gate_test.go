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

// gate applies manifests/rotation-gate in the main region's namespace. It returns the arguments of
// the gate's container, and the program with the permissions of the gate's account.
func (s *stage) gate() (args []string, program *testenv.Program) {
	s.Helper()
	text, err := os.ReadFile("../../manifests/rotation-gate/rbac.yaml")
	s.Must(err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), len(text))
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			break
		} else {
			s.Must(err)
		}
		o.SetNamespace(s.NS)
		if o.GetKind() == "RoleBinding" {
			for _, subject := range o.Object["subjects"].([]any) {
				subject.(map[string]any)["namespace"] = s.NS
			}
		}
		s.Must(testenv.Apply(s.Ctx, s.cluster("sjc").Config(), s.NS, o))
	}
	account := metav1.ObjectMeta{Name: "keystone-fernet-rotate", Namespace: s.NS}
	_, err = s.cluster("sjc").Client().CoreV1().ServiceAccounts(s.NS).Create(s.Ctx, &corev1.ServiceAccount{ObjectMeta: account}, metav1.CreateOptions{})
	s.Must(err)
	token, err := s.cluster("sjc").Request(s.Ctx, account, time.Hour)
	s.Must(err)
	kubeconfig := filepath.Join(s.TempDir(), "gate")
	data, err := s.cluster("sjc").TokenKubeconfig(s.NS, account.Name, token)
	s.Must(err)
	s.Must(os.WriteFile(kubeconfig, data, 0o600))

	text, err = os.ReadFile("../../manifests/rotation-gate/container.yaml")
	s.Must(err)
	var job batchv1.CronJob
	s.Must(yaml.Unmarshal(text, &job))
	for _, arg := range job.Spec.JobTemplate.Spec.Template.Spec.InitContainers[0].Args {
		if !strings.HasPrefix(arg, "--clusters=") { // omit the path of the mount in the pod
			args = append(args, arg)
		}
	}
	clusters, _ := s.directory()
	return append(args, "--clusters", clusters, "--settle", "0"), s.fernetcast.WithEnv("KUBECONFIG=" + kubeconfig)
}

// The rotation gate works for a remote without stored credentials, because the gate's account can
// request tokens.
func TestGateOfAKeylessRemote(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	s.identifies("sjc")
	s.trusts("dfw", "sjc")
	s.runs("sjc", byIdentity...)
	s.join("sjc", "dfw", "--keyless", "--request-timeout", "1m")
	s.join("sjc", "iad")
	args, program := s.gate()
	r, err := program.Run(s.Ctx, append(args, "--timeout", "30s")...)
	s.Must(err)
	s.says(r.Stdout, "2 of 2 remotes have had the source's keys")
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	// Without permission to request tokens, the gate waits and reports the reason.
	roles := s.cluster("sjc").Client().RbacV1().Roles(s.NS)
	role, err := roles.Get(s.Ctx, "fernetcast-rotation-gate", metav1.GetOptions{})
	s.Must(err)
	role.Rules = []rbacv1.PolicyRule{role.Rules[0]}
	_, err = roles.Update(s.Ctx, role, metav1.UpdateOptions{})
	s.Must(err)
	r, err = program.Run(s.Ctx, append(args, "--timeout", "5s")...)
	s.Must(err)
	s.says(r.Stdout, "the main region issues no token for ServiceAccount "+s.NS+"/"+identity, "403")
	if r.Code != 1 {
		t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}
