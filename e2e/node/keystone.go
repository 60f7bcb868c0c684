package node

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// DatabasePath is the path of the identity database in the Keystone image. Each pod makes its own
// copy of the database.
const DatabasePath = "/srv/keystone.db"

// These are the names of the images that pods on the node can use.
const (
	KeystoneImage   = registryAddress + "/keystone:1"
	FernetcastImage = registryAddress + "/fernetcast"
)

// PushKeystone pushes an image with Debian's Keystone to the node's registry. The image contains
// the given database, so that all regions have the same users.
func (n *Node) PushKeystone(ctx context.Context, database string, w io.Writer) error {
	base, err := Keystone(ctx, w)
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

// Registry returns the address of the node's registry in the test's own network, for pushing
// images. On the node, the same images have names such as FernetcastImage.
func (n *Node) Registry() string { return n.images.local }
