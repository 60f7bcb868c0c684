package regions

import "github.com/fernetcast/fernetcast/e2e/testenv"

// outpost is an additional remote: a namespace in a shared cluster, behind its own gateway. Many of
// them, each with its own fault, need no more control planes.
type outpost struct {
	*testenv.Gateway
	*history
	cluster *testenv.Cluster
	ns      string
	// honest is the number of requests before the remote was spoiled.
	honest int
}

// outpost gives fernetcast a kubeconfig for an outpost in the named cluster. Its history starts
// before fernetcast knows the remote.
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
