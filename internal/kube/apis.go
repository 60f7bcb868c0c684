package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/dynamic"
	authenticationv1client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	batchv1client "k8s.io/client-go/kubernetes/typed/batch/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacv1client "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
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
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return small{bounded(next, false)} })
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	a := &APIs{client: client}
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

// Close closes the connections that no request uses.
func (a *APIs) Close() { a.client.CloseIdleConnections() }

// small takes bounded answers alone, and no redirect. It takes Retry-After out of
// the hands of client-go, which would sleep through it.
type small struct{ next http.RoundTripper }

func (s small) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	switch redirect := resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest; {
	case err != nil:
		return nil, err
	case len(body) > maxAnswer:
		return nil, errTooLarge
	case redirect:
		return nil, errRedirected
	}
	resp.Header.Del("Retry-After")
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
