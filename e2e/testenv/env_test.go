package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

var shared *testenv.Env

// apart is a cluster with an etcd of its own.
var apart = sync.OnceValues(func() (*testenv.Cluster, error) {
	return shared.StartApart(context.Background(), "apart")
})

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(testenv.Main(m, &shared, "sjc", "dfw"))
}

// place is a namespace of the test's own with a key set in cluster name.
func place(t *testing.T, name string, apart ...string) (*testenv.Cluster, string, testenv.Repository) {
	t.Helper()
	cluster := shared.Cluster(name)
	namespace, err := shared.Namespace(t.Context(), "env", apart...)
	must(t, err)
	keys := shared.Keys.NewRepository(1, 2)
	_, err = cluster.Put(t.Context(), namespace, keys)
	must(t, err)
	return cluster, namespace, keys
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestRotationIsOneWriteAndHistorySeesEach(t *testing.T) {
	cluster, namespace, keys := place(t, "sjc")
	history, err := cluster.Follow(t.Context(), namespace)
	must(t, err)
	defer history.Stop()

	want := []testenv.Repository{keys}
	for range 5 {
		rotation, err := cluster.Rotate(t.Context(), namespace, 4)
		must(t, err)
		want = append(want, rotation.Keys)
	}
	must(t, cluster.Delete(t.Context(), namespace))
	must(t, history.CatchUp(deadline(t)))

	versions := history.Versions()
	if len(versions) != len(want)+1 || !versions[len(want)].Deleted {
		t.Fatalf("recorded %d versions, wanted %d and a deletion", len(versions), len(want))
	}
	for i, keys := range want {
		if !keys.Equal(versions[i].Keys()) {
			t.Errorf("version %d: recorded %v, wanted %v", i, indices(versions[i].Keys()), indices(keys))
		}
	}
	for i, indexes := range []string{"[0 1]", "[0 1 2]", "[0 1 2 3]", "[0 2 3 4]", "[0 3 4 5]", "[0 4 5 6]"} {
		if got := fmt.Sprint(indices(want[i])); got != indexes {
			t.Errorf("after %d rotations: indices %s, wanted %s", i, got, indexes)
		}
		if i > 0 && string(want[i][fmt.Sprint(want[i].Primary())]) != string(want[i-1]["0"]) {
			t.Errorf("rotation %d: the primary is not the key that was staged", i)
		}
	}
}

func TestHistoryOfAllSeesEachNamespaceOfItsClusterAlone(t *testing.T) {
	cluster, first, keys := place(t, "dfw")
	_, second, _ := place(t, "dfw")
	history, err := cluster.FollowAll(t.Context())
	must(t, err)
	defer history.Stop()
	_, elsewhere, _ := place(t, "sjc")
	must(t, cluster.Delete(t.Context(), second))
	rotation, err := cluster.Rotate(t.Context(), first, 3)
	must(t, err)
	must(t, history.CatchUp(deadline(t)))

	of := map[string][]testenv.Version{}
	for _, v := range history.Versions() {
		of[v.Secret.Namespace] = append(of[v.Secret.Namespace], v)
	}
	if v := of[first]; len(v) != 2 || !keys.Equal(v[0].Keys()) || !rotation.Keys.Equal(v[1].Keys()) {
		t.Errorf("%d versions of the one that was rotated, wanted both its key sets", len(v))
	}
	if v := of[second]; len(v) != 2 || !v[1].Deleted {
		t.Errorf("%d versions of the one that was deleted, wanted it and its end", len(v))
	}
	if v := of[elsewhere]; len(v) != 0 {
		t.Errorf("%d versions from another cluster", len(v))
	}
}

func TestRotationThatIsOvertakenConflicts(t *testing.T) {
	cluster, namespace, keys := place(t, "sjc")
	stale, err := cluster.Secret(t.Context(), namespace)
	must(t, err)
	_, err = cluster.Rotate(t.Context(), namespace, 3)
	must(t, err)
	stale.Data = keys
	if err := update(t.Context(), cluster, stale); !apierrors.IsConflict(err) {
		t.Errorf("a write of what was read before the rotation: %v, wanted a conflict", err)
	}
}

func TestFrozenServerAnswersAgainAfterThaw(t *testing.T) {
	cluster, namespace, keys := place(t, "dfw")
	must(t, cluster.Freeze())
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := cluster.Holds(short, namespace, keys)
	must(t, cluster.Thaw())
	if err == nil {
		t.Error("a frozen API server answered")
	}
	must(t, testenv.Until(deadline(t), 50*time.Millisecond, func(ctx context.Context) error {
		return cluster.Holds(ctx, namespace, keys)
	}))
}

func TestRestartKeepsAddressDataAndHistory(t *testing.T) {
	cluster, namespace, _ := place(t, "dfw")
	history, err := cluster.Follow(t.Context(), namespace)
	must(t, err)
	defer history.Stop()
	before, err := cluster.Rotate(t.Context(), namespace, 3)
	must(t, err)
	address, old := cluster.URL, cluster.Process()
	cluster.Kill()
	if old.Running() {
		t.Error("the API server runs after Kill")
	}
	if err := cluster.Holds(deadline(t), namespace, before.Keys); err == nil {
		t.Error("a killed API server answered")
	}
	must(t, cluster.Restart(t.Context()))
	if cluster.URL != address {
		t.Errorf("the address changed from %s to %s", address, cluster.URL)
	}
	must(t, cluster.Holds(deadline(t), namespace, before.Keys))
	after, err := cluster.Rotate(t.Context(), namespace, 3)
	must(t, err)
	must(t, history.CatchUp(deadline(t)))
	versions := history.Versions()
	if len(versions) != 3 || versions[2].Secret.ResourceVersion != after.ResourceVersion {
		t.Errorf("recorded %d versions, wanted 3 up to %s", len(versions), after.ResourceVersion)
	}
	history.Stop()
	if _, err := history.Await(deadline(t), func(testenv.Version) bool { return false }); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting on a stopped history: %v, wanted to hear that it was stopped", err)
	}
}

func TestClusterApartLosesItsEtcdAlone(t *testing.T) {
	apart, err := apart()
	must(t, err)
	cluster, namespace, keys := place(t, "apart", "apart")
	history, err := cluster.Follow(t.Context(), namespace)
	must(t, err)
	defer history.Stop()
	apart.Etcd.Kill()
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := apart.Holds(short, namespace, keys); err == nil {
		t.Error("a read succeeded without etcd")
	}
	if _, err := shared.Cluster("sjc").Put(deadline(t), namespace, keys); err != nil {
		t.Errorf("another cluster was hit: %v", err)
	}
	must(t, apart.Etcd.Restart(t.Context()))
	must(t, testenv.Until(deadline(t), 100*time.Millisecond, func(ctx context.Context) error {
		return apart.Holds(ctx, namespace, keys)
	}))
	rotation, err := apart.Rotate(deadline(t), namespace, 3)
	must(t, err)
	_, err = history.Await(deadline(t), func(v testenv.Version) bool { return rotation.Keys.Equal(v.Keys()) })
	must(t, err)
}

func indices(keys testenv.Repository) []string { return slices.Sorted(maps.Keys(keys)) }

// Two runs on one machine never hand out the same port.
func TestRunsShareNoPorts(t *testing.T) {
	other, err := testenv.Open(deadline(t), io.Discard)
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	seen := map[string]bool{}
	for range 300 {
		address, err := shared.Address()
		must(t, err)
		seen[address] = true
	}
	for range 300 {
		address, err := other.Address()
		must(t, err)
		if seen[address] {
			t.Fatalf("both runs have %s", address)
		}
	}
}
