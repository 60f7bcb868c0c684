package node

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// DatabasePath is where the image keystone has the identity, for a pod to copy.
const DatabasePath = "/srv/keystone.db"

// Images are the names of the images that pods on the node can have.
const (
	KeystoneImage   = registryAddress + "/keystone:1"
	FernetcastImage = registryAddress + "/fernetcast"
)

// PushKeystone gives the node's registry Debian's Keystone, with an identity's database in
// it that every region shares.
func (n *Node) PushKeystone(ctx context.Context, database string, say io.Writer) error {
	base, err := Keystone(ctx, say)
	if err != nil {
		return err
	}
	identity, err := os.ReadFile(database)
	if err != nil {
		return fmt.Errorf("reading the identity: %w", err)
	}
	var image v1.Image
	if image, err = layered(base, map[string][]byte{DatabasePath: identity}, 0o444); err != nil {
		return fmt.Errorf("adding the identity to the image: %w", err)
	}
	return n.images.push(ctx, "keystone:1", image)
}

// Registry is the address of the node's registry in this process's network, for whoever
// pushes. The node pulls the same images from FernetcastImage and the like.
func (n *Node) Registry() string { return n.images.local }
