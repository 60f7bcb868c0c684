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

// SecretName is the Secret that every test works on, in its own namespace.
const SecretName = "keystone-fernet-keys"

// rotationManager is who the rotation job is in managedFields: its client's
// User-Agent up to the slash.
const rotationManager = "python-requests"

// Namespace makes a namespace of a fresh name in every cluster of Start, and in these of
// StartApart.
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

// Secret reads the Secret live. Its error is the API server's, for
// apierrors.IsNotFound.
func (c *Cluster) Secret(ctx context.Context, namespace string) (*corev1.Secret, error) {
	return c.client.CoreV1().Secrets(namespace).Get(ctx, SecretName, metav1.GetOptions{})
}

// Put makes the Secret hold exactly keys, creating it (Opaque) where it is
// absent and keeping everything else of it where it is not.
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

// Edit changes the Secret as the field manager writer does. After a conflict it reads the
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

// Delete removes the Secret.
func (c *Cluster) Delete(ctx context.Context, namespace string) error {
	return c.client.CoreV1().Secrets(namespace).Delete(ctx, SecretName, metav1.DeleteOptions{})
}

// Holds is nil when the Secret's data is exactly keys.
func (c *Cluster) Holds(ctx context.Context, namespace string, keys Repository) error {
	secret, err := c.Secret(ctx, namespace)
	if err != nil {
		return fmt.Errorf("reading the Secret in %s: %w", c.Name, err)
	}
	if !keys.Equal(secret.Data) {
		return fmt.Errorf("%s holds other keys: primary %d of %d keys, wanted primary %d of %d",
			c.Name, Repository(secret.Data).Primary(), len(secret.Data), keys.Primary(), len(keys))
	}
	return nil
}

// Rotation is a rotation that went in.
type Rotation struct {
	Keys Repository
	// ResourceVersion is the source's after it.
	ResourceVersion string
	// Sent is when the PUT went out, Committed when its answer was there.
	Sent, Committed time.Time
}

// Rotate does what openstack-helm's rotation job does, with a rotation of our own.
func (c *Cluster) Rotate(ctx context.Context, namespace string, maxActive int) (Rotation, error) {
	return c.RotateBy(ctx, namespace, func(keys Repository) (Repository, error) {
		if keys["0"] == nil {
			return nil, fmt.Errorf("rotating in %s: there is no staged key", c.Name)
		}
		return c.env.Keys.Rotated(keys, maxActive), nil
	})
}

// RotateBy does what openstack-helm's rotation job does: it reads the Secret, has
// its keys rotated, and PUTs the whole of it with the resourceVersion that it
// read. The error is rotate's, or the API server's: IsConflict when anything
// else wrote meanwhile.
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
