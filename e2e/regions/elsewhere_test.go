package regions

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TestNamespaceElsewhere checks a kubeconfig whose context names another namespace. fernetcast must
// push to that namespace, and show it in every output.
func TestNamespaceElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	elsewhere, err := shared.Namespace(w.Ctx, "elsewhere")
	w.Must(err)
	kubeconfig, err := shared.Cluster("dfw").Kubeconfig(w.Ctx, testenv.Access{Namespace: elsewhere, Role: testenv.RemoteRole})
	w.Must(err)
	w.Must(testenv.WriteFile(w.Clusters, "dfw.yaml", kubeconfig))
	w.join("iad")
	w.joinAs("ord", testenv.Access{Role: testenv.RemoteRole, NoNamespace: true})
	run := w.run("--resync", "1h")
	there := func(keys testenv.Repository) {
		t.Helper()
		w.Until(func(ctx context.Context) error { return shared.Cluster("dfw").Holds(ctx, elsewhere, keys) })
		w.equal(testenv.Soon, keys, "iad", "ord")
		run.allShow("Synced", "", remotes...)
	}
	there(keys)
	there(w.rotate().Keys)
	w.Must(shared.Cluster("dfw").Delete(w.Ctx, elsewhere))
	last := w.rotate().Keys
	there(last)
	if _, err := shared.Cluster("dfw").Secret(w.Ctx, w.NS); !apierrors.IsNotFound(err) {
		t.Errorf("the Secret exists in a namespace that the kubeconfig does not name: %v", err)
	}

	want := map[string]string{"dfw": elsewhere, "iad": w.NS, "ord": w.NS}
	live, _, err := w.Operator.Status(w.Ctx)
	w.Must(err)
	served, err := run.status(w.Ctx)
	w.Must(err)
	for what, st := range map[string]*testenv.Status{"status -o json": live, "/statusz": served} {
		got := map[string]string{}
		for _, r := range st.Remotes {
			got[r.Name] = r.Namespace
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s has the namespaces %v, want %v", what, got, want)
		}
	}
	if plan := w.exits(0, "promote", mainRegion, "--yes"); !strings.Contains(plan, fmt.Sprintf("\n  dfw (namespace %s): gets these keys", elsewhere)) || !strings.Contains(plan, "\n  iad: gets these keys") {
		t.Errorf("promote's plan does not name only dfw's namespace:\n%s", plan)
	}
	for _, command := range []string{"status", "push"} {
		table := w.exits(0, command)
		if line := lineOf(table, "dfw"); !strings.HasPrefix(line, fmt.Sprintf("dfw (namespace %s)  ", elsewhere)) {
			t.Errorf("%s: %q does not name the namespace", command, line)
		}
		if strings.Count(table, "(namespace ") != 1 {
			t.Errorf("%s names a namespace although it is the source's own:\n%s", command, table)
		}
	}
}
