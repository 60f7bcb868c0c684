package testenv

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/util/retry"
)

// SecretName is the name of the Secret that each test uses in its own namespace.
const SecretName = "keystone-fernet-keys"

// rotationManager is the field manager of openstack-helm's rotation job: the User-Agent of its
// client, up to the slash.
const rotationManager = "python-requests"

// Namespace creates a namespace with a unique name in every cluster from Start and in the given
// clusters from StartApart.
func (g *Env) Namespace(ctx context.Context, prefix string, apart ...string) (string, error) {
	name := prefix + "-" + rand.String(6)
	clusters := g.Clusters()
	for _, other := range apart {
		clusters = append(clusters, g.Cluster(other))
	}
	for _, c := range clusters {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return "", fmt.Errorf("creating namespace %s in %s: %w", name, c.Name, err)
		}
	}
	return name, nil
}

// Secret reads the Secret from the API server. It doesn't wrap the error, so that
// apierrors.IsNotFound works.
func (c *Cluster) Secret(ctx context.Context, namespace string) (*corev1.Secret, error) {
	return c.client.CoreV1().Secrets(namespace).Get(ctx, SecretName, metav1.GetOptions{})
}

// Put sets the data of the Secret to keys. It creates the Secret (Opaque) if it is missing, and
// otherwise keeps its other fields.
func (c *Cluster) Put(ctx context.Context, namespace string, keys Repository) (*corev1.Secret, error) {
	secret, err := c.Secret(ctx, namespace)
	if apierrors.IsNotFound(err) {
		return c.client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: SecretName},
			Data:       keys,
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, err
	}
	secret.Data = keys
	return c.client.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
}

// Edit changes the Secret and uses writer as the field manager. After a conflict, it reads the
// Secret and calls change again.
func (c *Cluster) Edit(ctx context.Context, namespace, writer string, change func(*corev1.Secret)) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		secret, err := c.Secret(ctx, namespace)
		if err != nil {
			return err
		}
		change(secret)
		_, err = c.client.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{FieldManager: writer})
		return err
	})
}

// Delete deletes the Secret.
func (c *Cluster) Delete(ctx context.Context, namespace string) error {
	return c.client.CoreV1().Secrets(namespace).Delete(ctx, SecretName, metav1.DeleteOptions{})
}

// Holds returns nil if the data of the Secret equals keys.
func (c *Cluster) Holds(ctx context.Context, namespace string, keys Repository) error {
	secret, err := c.Secret(ctx, namespace)
	if err != nil {
		return fmt.Errorf("reading the Secret in %s: %w", c.Name, err)
	}
	if !keys.Equal(secret.Data) {
		return fmt.Errorf("%s has different keys: primary %d of %d keys, want primary %d of %d",
			c.Name, Repository(secret.Data).Primary(), len(secret.Data), keys.Primary(), len(keys))
	}
	return nil
}

// Rotation describes a successful rotation.
type Rotation struct {
	Keys Repository
	// ResourceVersion is the new resourceVersion of the source.
	ResourceVersion string
	// Sent is when the PUT was sent, and Committed is when its response arrived.
	Sent, Committed time.Time
}

// Rotate is like RotateBy, but uses Repository.Rotated instead of Keystone's fernet_rotate.
func (c *Cluster) Rotate(ctx context.Context, namespace string, maxActive int) (Rotation, error) {
	return c.RotateBy(ctx, namespace, func(keys Repository) (Repository, error) {
		if keys["0"] == nil {
			return nil, fmt.Errorf("rotating in %s: there is no staged key", c.Name)
		}
		return c.env.Keys.Rotated(keys, maxActive), nil
	})
}

// RotateBy works like openstack-helm's rotation job: it reads the Secret, rotates its keys, and
// replaces the whole Secret with a PUT that includes the resourceVersion. If another client wrote
// in between, the error satisfies IsConflict.
func (c *Cluster) RotateBy(ctx context.Context, namespace string, rotate func(Repository) (Repository, error)) (Rotation, error) {
	secret, err := c.Secret(ctx, namespace)
	if err != nil {
		return Rotation{}, err
	}
	done := Rotation{}
	if done.Keys, err = rotate(secret.Data); err != nil {
		return Rotation{}, err
	}
	secret.Data, done.Sent = done.Keys, time.Now()
	secret, err = c.client.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{FieldManager: rotationManager})
	if err != nil {
		return Rotation{}, err
	}
	done.Committed = time.Now()
	done.ResourceVersion = secret.ResourceVersion
	return done, nil
}
