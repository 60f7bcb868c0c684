package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// APIs are client-go's own clients of one cluster, for the commands that set up
// or examine a main's access to it. Each request has a deadline, an answer is at
// most 2 MiB, redirects are refused, and nothing is tried twice. They can not
// watch. They may be used concurrently.
type APIs struct {
	Core           corev1client.CoreV1Interface
	RBAC           rbacv1client.RbacV1Interface
	Batch          batchv1client.BatchV1Interface
	Authentication authenticationv1client.AuthenticationV1Interface
	Authorization  authorizationv1client.AuthorizationV1Interface
	Dynamic        dynamic.Interface

	client *http.Client
	clock  clock
}

// NewAPIs makes the clients of the cluster of cfg, which stays as it is. Nothing is
// sent. The caller owes a Close.
func NewAPIs(cfg *rest.Config, opts Options) (*APIs, error) {
	cfg = rest.CopyConfig(cfg)
	if cfg.Proxy == nil { // client-go keeps the transports of configs without one for ever
		cfg.Proxy = http.ProxyFromEnvironment
	}
	cfg.UserAgent, cfg.Timeout, cfg.QPS = opts.UserAgent, opts.Timeout, -1
	cfg.WarningHandler = rest.NoWarnings{} // the server's own texts
	cfg.DisableCompression = true
	a := &APIs{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return small{opts.SignIn.wrap(bounded(next, false)), &a.clock}
	})
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	a.client = client
	var errs [6]error
	a.Core, errs[0] = corev1client.NewForConfigAndClient(cfg, client)
	a.RBAC, errs[1] = rbacv1client.NewForConfigAndClient(cfg, client)
	a.Batch, errs[2] = batchv1client.NewForConfigAndClient(cfg, client)
	a.Authentication, errs[3] = authenticationv1client.NewForConfigAndClient(cfg, client)
	a.Authorization, errs[4] = authorizationv1client.NewForConfigAndClient(cfg, client)
	a.Dynamic, errs[5] = dynamic.NewForConfigAndClient(cfg, client)
	return a, errors.Join(errs[:]...)
}

// Version is the API server's.
func (a *APIs) Version(ctx context.Context) (version.Info, error) {
	var info version.Info
	body, err := a.Core.RESTClient().Get().AbsPath("/version").MaxRetries(0).Do(ctx).Raw()
	if err == nil && json.Unmarshal(body, &info) != nil {
		err = &Refusal{fmt.Sprintf("the server answers with %s in place of its version", describe(http.Header{}, body)), false}
	}
	return info, err
}

// ClusterUID returns the UID of the Namespace kube-system, which identifies a cluster
// whatever its address, name, and CA are; "" if these credentials may not read it.
func (a *APIs) ClusterUID(ctx context.Context) (string, error) {
	system, err := a.Core.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	uid := string(system.UID)
	if len(uid) > maxUID || CheckToken(uid) != nil {
		return "", &Refusal{"the server answers with a Namespace kube-system without a uid", true}
	}
	return uid, nil
}

// maxUID bounds a cluster's UID, in bytes. It is stored, and a real one has 36.
const maxUID = 64

// RotationJob is the CronJob of openstack-helm that rotates the keys.
const RotationJob = "keystone-fernet-rotate"

// SuspendRotation is the command that switches a namespace's rotation off.
func SuspendRotation(context, namespace string) string {
	return fmt.Sprintf(`kubectl --context %s --namespace %s patch cronjob %s --patch '{"spec":{"suspend":true}}'`, mirror.Quote(context), namespace, RotationJob)
}

// Rotates says whether a namespace's rotation is active: there, and not suspended.
func (a *APIs) Rotates(ctx context.Context, namespace string) (bool, error) {
	job, err := a.Batch.CronJobs(namespace).Get(ctx, RotationJob, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && !ptr.Deref(job.Spec.Suspend, false), err
}

// Rules are what these credentials may do in a namespace, as the API server says;
// incomplete where it does not tell everything.
func (a *APIs) Rules(ctx context.Context, namespace string) (rules []authorizationv1.ResourceRule, incomplete bool, err error) {
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	answer, err := a.Authorization.SelfSubjectRulesReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, false, err
	}
	return answer.Status.ResourceRules, answer.Status.Incomplete, nil
}

// Clock is the server's time at its last answer, to the second; false where it has
// told none.
func (a *APIs) Clock() (time.Time, bool) { return a.clock.now() }

// Close closes the connections that no request uses.
func (a *APIs) Close() { a.client.CloseIdleConnections() }

// small takes bounded answers alone, and no redirect. It takes Retry-After out of
// the hands of client-go, which would sleep through it.
type small struct {
	next  http.RoundTripper
	clock *clock
}

func (s small) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	s.clock.read(resp.Header)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	switch redirect := resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest; {
	case err != nil:
		return nil, err
	case resp.StatusCode < http.StatusOK:
		return nil, errNotFinal(resp.StatusCode)
	case len(body) > maxAnswer:
		return nil, errTooLarge
	case redirect:
		return nil, errRedirected
	}
	resp.Header.Del("Retry-After")
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
