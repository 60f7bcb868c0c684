package regions

import "github.com/fernetcast/fernetcast/e2e/testenv"

// outpost is an additional remote: a namespace in a shared cluster, behind its own gateway. With
// outposts, a test can have many remotes, each with its own fault, without more control planes.
type outpost struct {
	*testenv.Gateway
	*history
	cluster *testenv.Cluster
	ns      string
	// honest is the number of requests before the test spoiled the remote.
	honest int
}

// outpost creates an outpost in the named cluster and gives fernetcast its kubeconfig. The
// outpost's history starts before that.
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
