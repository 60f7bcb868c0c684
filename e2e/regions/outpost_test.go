package regions

import "github.com/fernetcast/fernetcast/e2e/ground"

// outpost is one more remote: a namespace of its own in a cluster that has
// others, behind a gateway of its own. Many of them, each with a trouble of its
// own, cost no more control planes.
type outpost struct {
	*ground.Gateway
	*history
	cluster *ground.Cluster
	ns      string
}

// outpost gives the program a kubeconfig for one in the named cluster. Its
// history begins before the program knows of it.
func (w *world) outpost(name, cluster string) *outpost {
	w.Helper()
	o := &outpost{cluster: shared.Cluster(cluster)}
	var err error
	o.ns, err = shared.Namespace(w.ctx, "o")
	w.must(err)
	o.Gateway, err = o.cluster.Gateway()
	w.must(err)
	w.Cleanup(o.Gateway.Close)
	h, err := o.cluster.Follow(w.ctx, o.ns)
	w.must(err)
	w.Cleanup(h.Stop)
	o.history = &history{h, w, name, 0}
	kubeconfig, err := o.cluster.Kubeconfig(w.ctx, ground.Access{Namespace: o.ns, Role: ground.RemoteRole, Server: o.URL()})
	w.must(err)
	w.must(ground.WriteFile(w.Clusters, name+".yaml", kubeconfig))
	return o
}
