package regions

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestClustersFromSecret checks that commands can read kubeconfigs from a Secret next to the
// source, as they do on a workstation. By default, the Secret's name is fernetcast-clusters.
func TestClustersFromSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.join("dfw", "iad")
	data := map[string][]byte{"broken.yaml": []byte("current-context: x")}
	for _, name := range []string{"dfw", "iad"} {
		kubeconfig, err := shared.Cluster(name).Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.RemoteRole})
		w.Must(err)
		data[name+".kubeconfig"] = kubeconfig
	}
	operator := *w.Operator
	operator.Args = operator.Args[:len(operator.Args)-2] // without --clusters
	w.Operator = &operator
	from := []string{"--clusters", "secret/fernetcast-clusters"}
	w.says(1, []string{"no remotes", "fernetcast-clusters"}, append(from, "status")...)

	secrets := w.Home.Client().CoreV1().Secrets(w.NS)
	_, err := secrets.Create(w.Ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "fernetcast-clusters"}, Data: data,
	}, metav1.CreateOptions{})
	w.Must(err)
	w.says(1, []string{"dfw", "iad", "Misconfigured"}, append(from, "status")...)
	w.says(2, []string{`"ord"`}, append(from, "push", "ord")...)
	w.says(1, []string{"Marked"}, append(from, "promote", "sjc", "--yes")...)
	w.equal(time.Second, keys, "dfw", "iad") // promote has already pushed these keys
	rotation := w.rotate()
	w.says(0, []string{"dfw"}, append(from, "push", "dfw")...)
	w.says(0, []string{"iad"}, "push", "iad") // uses the default Secret
	w.equal(time.Second, rotation.Keys, "dfw", "iad")

	// The operator's Role allows only that name.
	w.says(1, []string{"forbidden"}, "--clusters", "secret/other", "status")
	w.says(1, []string{"no remotes, so rotations are pushed nowhere"}, "--clusters", filepath.Join(t.TempDir(), "missing"), "status")
}

// TestStatusFields checks that the JSON output of status has exactly the documented fields, because
// other tools depend on them.
func TestStatusFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.join("dfw")
	run := w.run()
	run.source("Absent", "")
	run.shows("dfw", "Held", "SourceAbsent")
	for _, document := range w.documents(run, 1) {
		wantNull(t, document, "source", "term", "primary", "rotatedAt")
		wantNull(t, document, "dfw", "primary", "behind", "lastPushed", "lastSynced", "nextTry")
	}
	keys := w.keys()
	w.promote()
	w.equal(testenv.Soon, keys, "dfw")
	run.shows("dfw", "Synced", "")
	both := w.documents(run, 0)
	wantNull(t, both[0], "source")
	wantNull(t, both[1], "source")
	wantNull(t, both[0], "dfw", "lastSynced", "nextTry")
	wantNull(t, both[1], "dfw", "nextTry")
	_, err := w.Home.Put(w.Ctx, w.NS, shared.Keys.NewRepository(9, 3))
	w.Must(err)
	run.shows("dfw", "Held", "Discontinuous")
	for _, document := range w.documents(run, 1) {
		if behind := document["dfw"]["behind"]; behind != nil {
			t.Errorf("behind is %v although the source does not continue the copy", behind)
		}
	}
}

// TestStatusOutputs checks every output format with --only-unwell. The flag must not change a
// table's summary or the exit code.
func TestStatusOutputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keys()
	w.join("dfw", "iad")
	w.promote()
	w.says(0, []string{"\n2 Synced\n"}, "status", "--only-unwell")
	w.Must(testenv.WriteFile(w.Clusters, "iad.yaml", []byte("kind: Config")))
	w.Must(testenv.WriteFile(w.Clusters, "ord.yaml", []byte("kind: Config")))
	for _, output := range []string{"table", "wide", "json", "yaml"} {
		all, few := w.exits(1, "status", "-o", output), w.exits(1, "status", "-o", output, "--only-unwell")
		if !strings.Contains(all, "dfw") || strings.Contains(few, "dfw") || !strings.Contains(few, "iad") || !strings.Contains(few, "ord") {
			t.Errorf("%s shows\n%s\nand with --only-unwell\n%s", output, all, few)
		}
		if table := output == "table" || output == "wide"; strings.HasSuffix(few, "\n1 Synced, 2 Misconfigured\n") != table {
			t.Errorf("%s ends with the wrong summary:\n%s", output, few)
		}
	}
}

// documents returns the output of `status -o json` and of /statusz, in this order. In each
// document, the key "source" has the source's fields, and a remote's name has the remote's fields.
// documents checks that the command exits with the given code.
func (w *world) documents(run *replica, code int) []map[string]map[string]any {
	w.Helper()
	r := w.command("status", "-o", "json")
	if r.Code != code {
		w.Errorf("status -o json: exit %d, want %d", r.Code, code)
	}
	body, err := testenv.Get(w.Ctx, "http://"+run.address+"/statusz")
	w.Must(err)
	source := []string{"detail", "keys", "namespace", "primary", "region", "resourceVersion", "rotatedAt", "secret", "staged", "state", "term"}
	remote := []string{"behind", "credentialsDue", "credentialsExpire", "detail", "keys", "lastPushed", "lastSynced", "name", "namespace", "nextTry", "primary",
		"pushedResourceVersion", "reason", "server", "state"}
	var all []map[string]map[string]any
	for _, text := range []string{r.Stdout, string(body)} {
		var top map[string]any
		w.Must(json.Unmarshal([]byte(text), &top))
		w.fields(top, []string{"remotes", "source"})
		document := map[string]map[string]any{"source": top["source"].(map[string]any)}
		w.fields(document["source"], source)
		for _, one := range top["remotes"].([]any) {
			part := one.(map[string]any)
			w.fields(part, remote)
			document[part["name"].(string)] = part
		}
		all = append(all, document)
	}
	return all
}

func (w *world) fields(part map[string]any, names []string) {
	w.Helper()
	if have := slices.Sorted(maps.Keys(part)); !slices.Equal(have, names) {
		w.Errorf("the fields are %v, want the documented ones: %v", have, names)
	}
}

// wantNull fails the test unless exactly these fields of the part are null. It ignores the field
// keys.
func wantNull(t *testing.T, document map[string]map[string]any, part string, names ...string) {
	t.Helper()
	var null []string
	for name, value := range document[part] {
		if value == nil && name != "keys" {
			null = append(null, name)
		}
	}
	slices.Sort(null)
	slices.Sort(names)
	if !slices.Equal(null, names) {
		t.Errorf("%s has null in %v, want %v", part, null, names)
	}
}
