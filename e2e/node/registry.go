package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	containerregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// registryAddress is the registry from which the node's containerd pulls all images.
const registryAddress = serviceAddress + ":5000"

// registry is an image registry in this process. It listens both in the node's network, where the
// node pulls images, and in this process's network, where clients push them.
type registry struct {
	server *http.Server
	local  string // host:port in this process's network
}

// openRegistry starts a registry that contains the image of the pod sandbox.
func (n *Node) openRegistry(ctx context.Context, env *testenv.Env) (*registry, error) {
	blobs := filepath.Join(n.dir, "blobs")
	if err := os.Mkdir(blobs, 0o755); err != nil {
		return nil, fmt.Errorf("opening a registry: %w", err)
	}
	handler := containerregistry.New(containerregistry.Logger(log.New(io.Discard, "", 0)), containerregistry.WithBlobHandler(containerregistry.NewDiskBlobHandler(blobs)))
	r := &registry{server: &http.Server{Handler: handler}}
	inner, err := n.listen(registryAddress)
	if err != nil {
		return nil, fmt.Errorf("opening a registry: %w", err)
	}
	outer, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a registry: %w", errors.Join(err, inner.Close()))
	}
	r.local = outer.Addr().String()
	for _, listener := range []net.Listener{inner, outer} {
		go func() { _ = r.server.Serve(listener) }() // until the registry is closed
	}
	pause, err := env.Companion(ctx, "node/pause")
	if err != nil {
		return r, err
	}
	binary, err := os.ReadFile(pause.Path)
	if err != nil {
		return r, fmt.Errorf("reading the sandbox's program: %w", err)
	}
	image, err := static(binary, "/pause")
	if err != nil {
		return r, err
	}
	return r, r.push(ctx, "pause:1", image)
}

func (r *registry) close() { _ = r.server.Close() }

// push adds an image to the registry under the given name:tag.
func (r *registry) push(ctx context.Context, as string, image v1.Image) error {
	ref, err := name.ParseReference(r.local + "/" + as)
	if err != nil {
		return fmt.Errorf("pushing %s: %w", as, err)
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing %s: %w", as, err)
	}
	return nil
}
