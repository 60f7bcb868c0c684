package regions

import "github.com/fernetcast/fernetcast/e2e/testenv"

// outpost is one more remote: a namespace of its own in a cluster that has
// others, behind a gateway of its own. Many of them, each with a trouble of its
// own, cost no more control planes.
type outpost struct {
	*testenv.Gateway
	*history
	cluster *testenv.Cluster
	ns      string
	// honest is how many requests had come when it was spoilt.
	honest int
}

// outpost gives the program a kubeconfig for one in the named cluster. Its
// history begins before the program knows of it.
func (w *world) outpost(name, cluster string) *outpost {
	w.Helper()
	o := &outpost{cluster: shared.Cluster(cluster)}
	var err error
	o.ns, err = shared.Namespace(w.Ctx, "o")
	w.Must(err)
	o.Gateway, err = o.cluster.Gateway()
	w.Must(err)
	w.Cleanup(o.Gateway.Close)
	h, err := o.cluster.Follow(w.Ctx, o.ns)
	w.Must(err)
	w.Cleanup(h.Stop)
	o.history = &history{h, w, name, 0}
	kubeconfig, err := o.cluster.Kubeconfig(w.Ctx, testenv.Access{Namespace: o.ns, Role: testenv.RemoteRole, Server: o.URL()})
	w.Must(err)
	w.Must(testenv.WriteFile(w.Clusters, name+".yaml", kubeconfig))
	return o
}
