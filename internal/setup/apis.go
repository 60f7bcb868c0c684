// Package setup contains the requests that set up or check the main region's access to a cluster.
//
// It doesn't read or write keys, and doesn't decide which objects a cluster needs.
package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/dynamic"
	authenticationv1client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	batchv1client "k8s.io/client-go/kubernetes/typed/batch/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacv1client "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// APIs contains client-go's clients for one cluster. The underlying [kube.Client] sets a deadline
// for each request, limits responses to 2 MiB, rejects redirects, and doesn't retry. So these
// clients can't watch. They are safe for concurrent use.
type APIs struct {
	Core           corev1client.CoreV1Interface
	RBAC           rbacv1client.RbacV1Interface
	Batch          batchv1client.BatchV1Interface
	Authentication authenticationv1client.AuthenticationV1Interface
	Authorization  authorizationv1client.AuthorizationV1Interface
	Dynamic        dynamic.Interface
	// Config is the configuration that the clients were created from. It must not be changed.
	Config *rest.Config

	*kube.Client
}

// NewAPIs returns clients for the cluster in cfg. It doesn't modify cfg or send requests. The
// caller must call Close.
func NewAPIs(cfg *rest.Config, opts kube.Options) (*APIs, error) {
	given, cfg := cfg, rest.CopyConfig(cfg)
	client, err := kube.New(cfg, opts)
	if err != nil {
		return nil, err
	}
	// The guard counts the values in JSON before they are decoded. By default, client-go would
	// request protobuf.
	cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	a, timed := &APIs{Config: given, Client: client}, client.HTTP()
	var errs [6]error
	a.Core, errs[0] = corev1client.NewForConfigAndClient(cfg, timed)
	a.RBAC, errs[1] = rbacv1client.NewForConfigAndClient(cfg, timed)
	a.Batch, errs[2] = batchv1client.NewForConfigAndClient(cfg, timed)
	a.Authentication, errs[3] = authenticationv1client.NewForConfigAndClient(cfg, timed)
	a.Authorization, errs[4] = authorizationv1client.NewForConfigAndClient(cfg, timed)
	a.Dynamic, errs[5] = dynamic.NewForConfigAndClient(cfg, timed)
	return a, errors.Join(errs[:]...)
}

// Version returns the API server's version.
func (a *APIs) Version(ctx context.Context) (string, error) {
	var info version.Info
	body, err := a.Core.RESTClient().Get().AbsPath("/version").MaxRetries(0).Do(ctx).Raw()
	if err == nil && json.Unmarshal(body, &info) != nil {
		err = kube.NewRefusal(fmt.Sprintf("the server returned %s instead of its version", kube.Describe(http.Header{}, body)), false)
	}
	return mirror.Version(info.GitVersion), err
}

// ClusterUID returns the UID of the Namespace kube-system. It identifies the cluster even if its
// address, name, or CA changes. ClusterUID returns "" if the Namespace doesn't exist or these
// credentials may not read it.
func (a *APIs) ClusterUID(ctx context.Context) (string, error) {
	system, err := a.Core.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	uid := string(system.UID)
	if len(uid) > maxUID || mirror.Name(uid) != uid {
		return "", kube.NewRefusal("the server returned a Namespace kube-system without a uid", true)
	}
	return uid, nil
}

// maxUID is the maximum length of a cluster's UID in bytes, because it is stored. A real UID has 36.
const maxUID = 64

// RotationJob is the name of openstack-helm's CronJob that rotates the keys.
const RotationJob = "keystone-fernet-rotate"

// SuspendRotation returns the kubectl command that suspends a rotation CronJob.
func SuspendRotation(context, namespace, job string) string {
	return fmt.Sprintf(`%s patch cronjob %s --patch '{"spec":{"suspend":true}}'`, mirror.Kubectl(context, namespace), job)
}

// Rotates returns the name of a CronJob that rotates Fernet keys in a namespace and isn't suspended, or "" if
// there is none. It recognizes them by their names.
func (a *APIs) Rotates(ctx context.Context, namespace string) (active string, err error) {
	err = EachPage(ctx, jobsPage, a.Batch.CronJobs(namespace).List, func(jobs *batchv1.CronJobList) {
		for _, job := range jobs.Items {
			if strings.Contains(job.Name, "fernet") && strings.Contains(job.Name, "rotat") && !ptr.Deref(job.Spec.Suspend, false) {
				active = mirror.Name(job.Name)
			}
		}
	})
	return active, err
}

// Rules returns these credentials' permissions in a namespace, as reported by the API server.
// incomplete means that there may be more, such as with a webhook authorizer.
func (a *APIs) Rules(ctx context.Context, namespace string) (rules []authorizationv1.ResourceRule, incomplete bool, err error) {
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	answer, err := a.Authorization.SelfSubjectRulesReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, false, err
	}
	return answer.Status.ResourceRules, answer.Status.Incomplete, nil
}
