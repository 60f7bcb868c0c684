package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// side is a namespace in the main region, and places for copies of its Secret. With several
// identical sides, programs can take turns. Sides exist for the whole run, so a test finds objects
// of earlier tests.
type side struct {
	name       string
	namespace  string
	kubeconfig string // path of the source's kubeconfig
	keys       int    // number of keys in the key set
	places     []place
}

// place is a namespace in a cluster. For a program, each place is a separate remote with its own
// token, client, and connections.
type place struct {
	name       string
	cluster    *testenv.Cluster
	namespace  string
	kubeconfig []byte
}

// by returns a copy of the side in which places first to end-1 use the proxies.
func (d *side) by(proxies map[*testenv.Cluster]*testenv.Proxy, first, end int) *side {
	far := *d
	far.places = slices.Clone(d.places)
	for i := first; i < end; i++ {
		p := &far.places[i]
		p.kubeconfig = bytes.ReplaceAll(p.kubeconfig, []byte(p.cluster.URL), []byte(proxies[p.cluster].URL()))
	}
	return &far
}

// atOnce is the number of concurrent requests that set up a test.
const atOnce = 32

var sides = sync.OnceValues(func() (made [5]*side, err error) {
	for i := range made {
		name := string(rune('a' + i))
		if made[i], err = newSide(context.Background(), name); err != nil {
			return made, fmt.Errorf("creating side %s: %w", name, err)
		}
	}
	return made, nil
})

// sides returns two sides with n places each. See several.
func (s *stand) sides(n int) (a, b *side) {
	s.Helper()
	two := s.several(2, n)
	return two[0], two[1]
}

// several returns count sides. Each has n places without the Secret, and a key set that no place
// has ever had.
func (s *stand) several(count, n int) []*side {
	s.Helper()
	made, err := sides()
	s.Must(err)
	var all errgroup.Group
	for _, side := range made[:count] {
		all.Go(func() error { return side.clear(s.Ctx, n) })
	}
	s.Must(all.Wait())
	return made[:count]
}

// newSide returns a side with a promoted source. Its kubeconfig has a sidecar's permissions.
func newSide(ctx context.Context, name string) (*side, error) {
	const keys = 7 // openstack-helm's max_active_keys
	main := shared.Cluster(mainRegion)
	namespace, err := shared.Namespace(ctx, "bench-"+name)
	if err != nil {
		return nil, err
	}
	if _, err := main.Put(ctx, namespace, shared.Keys.NewRepository(keys+1, keys)); err != nil {
		return nil, err
	}
	dir, err := shared.Directory("bench-")
	if err != nil {
		return nil, err
	}
	for name, role := range map[string]testenv.Role{"sidecar": testenv.SidecarRole, "operator": testenv.OperatorRole} {
		kubeconfig, err := main.Kubeconfig(ctx, testenv.Access{Namespace: namespace, Role: role})
		if err != nil {
			return nil, err
		}
		if err := testenv.WriteFile(dir, name, kubeconfig); err != nil {
			return nil, err
		}
	}
	program, err := shared.Program(ctx)
	if err != nil {
		return nil, err
	}
	result, err := program.Run(ctx, "promote", mainRegion, "--yes", "--namespace", namespace,
		"--kubeconfig", filepath.Join(dir, "operator"), "--clusters", filepath.Join(dir, "none"))
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("promote: exit %d: %s", result.Code, result.Stderr)
	}
	return &side{name: name, namespace: namespace, kubeconfig: filepath.Join(dir, "sidecar"), keys: keys}, err
}

// clear deletes every copy, creates places until there are n, and rotates the keys.
func (d *side) clear(ctx context.Context, n int) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(atOnce)
	for _, p := range d.places {
		all.Go(func() error {
			if err := p.cluster.Delete(ctx, p.namespace); !apierrors.IsNotFound(err) {
				return err
			}
			return nil
		})
	}
	old := len(d.places)
	d.places = append(d.places, make([]place, max(0, n-old))...)
	for i := old; i < n; i++ {
		all.Go(func() (err error) {
			d.places[i], err = d.place(ctx, i)
			return err
		})
	}
	_, err := shared.Cluster(mainRegion).Rotate(ctx, d.namespace, d.keys)
	return errors.Join(err, all.Wait())
}

// place creates the place with index i, with the permissions of a remote's account.
func (d *side) place(ctx context.Context, i int) (place, error) {
	p := place{name: fmt.Sprintf("r%04d", i), cluster: shared.Cluster(regions[i%len(regions)])}
	p.namespace = d.namespace + "-" + p.name
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.namespace}}
	_, err := p.cluster.Client().CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err == nil {
		p.kubeconfig, err = p.cluster.Kubeconfig(ctx, testenv.Access{Namespace: p.namespace, Role: testenv.RemoteRole})
	}
	if err != nil {
		return place{}, fmt.Errorf("making %s: %w", p.name, err)
	}
	return p, nil
}
