package testenv_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

var shared *testenv.Env

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(testenv.Main(m, &shared, "sjc", "dfw"))
}

// place creates a namespace for one test, and a key set in the named cluster.
func place(t *testing.T, name string) (*testenv.Cluster, string, testenv.Repository) {
	t.Helper()
	cluster := shared.Cluster(name)
	namespace, err := shared.Namespace(t.Context(), "env")
	testenv.Must(t, err)
	keys := shared.Keys.NewRepository(1, 2)
	_, err = cluster.Put(t.Context(), namespace, keys)
	testenv.Must(t, err)
	return cluster, namespace, keys
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
	testenv.Must(t, err)
	defer history.Stop()

	want := []testenv.Repository{keys}
	for range 5 {
		rotation, err := cluster.Rotate(t.Context(), namespace, 4)
		testenv.Must(t, err)
		want = append(want, rotation.Keys)
	}
	testenv.Must(t, cluster.Delete(t.Context(), namespace))
	testenv.Must(t, history.CatchUp(deadline(t)))

	versions := history.Versions()
	if len(versions) != len(want)+1 || !versions[len(want)].Deleted {
		t.Fatalf("recorded %d versions, want %d and a deletion", len(versions), len(want))
	}
	for i, keys := range want {
		if !keys.Equal(versions[i].Keys()) {
			t.Errorf("version %d: recorded %v, want %v", i, indices(versions[i].Keys()), indices(keys))
		}
	}
	for i, indexes := range []string{"[0 1]", "[0 1 2]", "[0 1 2 3]", "[0 2 3 4]", "[0 3 4 5]", "[0 4 5 6]"} {
		if got := fmt.Sprint(indices(want[i])); got != indexes {
			t.Errorf("after %d rotations: indices %s, want %s", i, got, indexes)
		}
		if i > 0 && string(want[i][fmt.Sprint(want[i].Primary())]) != string(want[i-1]["0"]) {
			t.Errorf("rotation %d: the primary is not the previously staged key", i)
		}
	}
}

func indices(keys testenv.Repository) []string { return slices.Sorted(maps.Keys(keys)) }

// Two runs on one machine never get the same port.
func TestRunsShareNoPorts(t *testing.T) {
	other, err := testenv.Open(deadline(t), io.Discard)
	testenv.Must(t, err)
	t.Cleanup(func() { testenv.Must(t, other.Close()) })
	seen := map[string]bool{}
	for range 300 {
		address, err := shared.Address()
		testenv.Must(t, err)
		seen[address] = true
	}
	for range 300 {
		address, err := other.Address()
		testenv.Must(t, err)
		if seen[address] {
			t.Fatalf("both runs got %s", address)
		}
	}
}
