package manifests

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const migratePage = repository + "/docs/migrate.md"

// former is a tool that copied the keys before the migration. The commands for it are under heading
// in docs/migrate.md. install creates the tool's objects in the clusters.
type former struct {
	heading string
	install func(m *migration)
	// cleaned reports whether the commands in the page's last section are for this tool.
	cleaned bool
}

var formers = []former{
	{"fernet-sync from rackerlabs", (*migration).fernetSync, true},
	{"PushSecret from External Secrets", (*migration).pushSecret, false},
	{"config-syncer (kubed)", (*migration).configSyncer, false},
	{"Ansible, cron, or a script", (*migration).schedule, false},
}

// migration is the setup of one migration to fernetcast: three regions with the same keys.
type migration struct {
	*testenv.Stage
	sjc, dfw, iad *testenv.Cluster
}

func (m *migration) regions() []*testenv.Cluster {
	return []*testenv.Cluster{m.sjc, m.dfw, m.iad}
}

// TestMigratePage follows docs/migrate.md exactly, once for each tool that it names. No region's
// keys may change until the first rotation afterward.
func TestMigratePage(t *testing.T) {
	ctx := within(t, shortBuild)
	docker := readDockerfile(t)
	binary := shipped(ctx, t, docker)
	headings := map[string]bool{}
	for _, s := range steps(t, migratePage) {
		headings[s.heading] = true
	}
	for _, f := range formers {
		if !headings[f.heading] {
			t.Errorf("docs/migrate.md has no commands for %q", f.heading)
		}
		t.Run(f.heading, func(t *testing.T) {
			m := &migration{Stage: &testenv.Stage{T: t, Env: shared, Ctx: ctx}, sjc: shared.Cluster("sjc"), dfw: shared.Cluster("dfw"), iad: shared.Cluster("iad")}
			m.move(f, docker, binary)
		})
	}
}

func (m *migration) move(f former, docker image, binary string) {
	keys := shared.Keys.NewRepository(8, 7)
	histories := map[*testenv.Cluster]*testenv.History{}
	for _, region := range m.regions() {
		makeNamespace(m.Ctx, m.T, region)
		makeRotation(m.Ctx, m.T, region)
		if region != m.sjc { // remotes must not rotate, because they would sign with their own keys
			suspend(m.Ctx, m.T, region)
		}
		m.Cleanup(func() { forget(m.T, region) })
		_, err := region.Put(m.Ctx, namespace, keys)
		m.Must(err)
		histories[region], err = region.Follow(m.Ctx, namespace)
		m.Must(err)
	}
	f.install(m)
	operator := newWorkstation(m.T, binary, map[string]*testenv.Cluster{"sjc": m.sjc, "dfw": m.dfw, "iad": m.iad})
	apply(m.Ctx, m.T, m.sjc, render(m.T, sidecarDir)...)
	sidecar := startSidecar(m.Ctx, m.T, m.sjc, docker, binary)
	said := operator.shell(m.Ctx, m.T, scripts(m.T, migratePage, func(heading string) bool {
		return heading == f.heading || strings.HasPrefix(heading, "1. ") || strings.HasPrefix(heading, "3. ") ||
			f.cleaned && strings.HasPrefix(heading, "4. ")
	}))
	for region, history := range histories {
		m.Must(history.CatchUp(m.Ctx))
		if slices.ContainsFunc(history.Versions(), func(v testenv.Version) bool { return !keys.Equal(v.Keys()) }) {
			m.Errorf("the keys of %s changed during the migration", region.Name)
		}
		history.Stop()
	}
	if suspended(m.Ctx, m.T, m.sjc) {
		m.Error("the main region's rotation is suspended")
	}
	rotation, err := m.sjc.Rotate(m.Ctx, namespace, 7)
	m.Must(err)
	for _, remote := range []*testenv.Cluster{m.dfw, m.iad} {
		m.Until(func(ctx context.Context) error { return remote.Holds(ctx, namespace, rotation.Keys) })
	}
	sidecar.terminate(m.Ctx, m.T)
	said += operator.shell(m.Ctx, m.T, "fernetcast --context sjc leave dfw --yes\nfernetcast --context sjc leave iad --yes\n")
	shared.Keys.NoLeaks(m.T, said, sidecar.stdout.String(), sidecar.stderr.String())
}

// made fails the test if an object could not be created, unless it already exists from an earlier
// migration.
func (m *migration) made(err error) {
	m.Helper()
	if err != nil && !apierrors.IsAlreadyExists(err) {
		m.Fatal(err)
	}
}

// deployment creates a Deployment in the main region. It gets no pods, because no controller is
// running.
func (m *migration) deployment(in, name string) {
	labels := map[string]string{"app": name}
	pod := template(m.T, "testdata/keystone")
	pod.Labels = labels
	_, err := m.sjc.Client().AppsV1().Deployments(in).Create(m.Ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pod},
	}, metav1.CreateOptions{})
	m.made(err)
}

// fernetSync sets up rackerlabs' fernet-sync as in Genestack's documentation.
func (m *migration) fernetSync() {
	m.deployment(namespace, "fernet-sync")
	const account = "keystone-sync-external"
	for _, remote := range []*testenv.Cluster{m.dfw, m.iad} {
		core, rbac := remote.Client().CoreV1(), remote.Client().RbacV1()
		_, err := core.ServiceAccounts(namespace).Create(m.Ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
		m.made(err)
		_, err = rbac.Roles(namespace).Create(m.Ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account + "-role"}}, metav1.CreateOptions{})
		m.made(err)
		_, err = rbac.RoleBindings(namespace).Create(m.Ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: account + "-rolebinding"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account + "-role"},
		}, metav1.CreateOptions{})
		m.made(err)
		_, err = core.Secrets(namespace).Create(m.Ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: account + "-secret"}}, metav1.CreateOptions{})
		m.made(err)
	}
}

// pushSecret creates a PushSecret of External Secrets that deletes the copies when it is deleted.
func (m *migration) pushSecret() {
	group := schema.GroupVersion{Group: "external-secrets.io", Version: "v1alpha1"}
	makeKind(m.Ctx, m.T, m.sjc, group, "PushSecret")
	pushed := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group.String(),
		"kind":       "PushSecret",
		"metadata":   map[string]any{"name": testenv.SecretName, "namespace": namespace},
		"spec":       map[string]any{"deletionPolicy": "Delete"},
	}}
	apply(m.Ctx, m.T, m.sjc, pushed)
}

// configSyncer sets up AppsCode's config-syncer in its own namespace.
func (m *migration) configSyncer() {
	_, err := m.sjc.Client().CoreV1().Namespaces().Create(m.Ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kubeops"}}, metav1.CreateOptions{})
	m.made(err)
	m.deployment("kubeops", "config-syncer")
	m.Must(m.sjc.Edit(m.Ctx, namespace, "config-syncer", func(s *corev1.Secret) {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, "kubed.appscode.com/sync-contexts", "dfw,iad")
	}))
}

// schedule creates a CronJob whose script distributes the keys.
func (m *migration) schedule() {
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "fernet-distribute"}}
	job.Spec.Schedule = "*/5 * * * *"
	job.Spec.JobTemplate.Spec.Template = template(m.T, "testdata/keystone")
	job.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	_, err := m.sjc.Client().BatchV1().CronJobs(namespace).Create(m.Ctx, job, metav1.CreateOptions{})
	m.made(err)
}
