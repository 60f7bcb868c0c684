package access

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
)

// grants gives an account in a remote a permission, with a Role and a RoleBinding of that name.
func (s *stage) grants(remote, name string, to rbacv1.Subject, rule rbacv1.PolicyRule) {
	s.Helper()
	rbac := s.cluster(remote).Client().RbacV1()
	_, err := rbac.Roles(s.NS).Create(s.Ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}, metav1.CreateOptions{})
	s.Must(err)
	_, err = rbac.RoleBindings(s.NS).Create(s.Ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}, Subjects: []rbacv1.Subject{to},
	}, metav1.CreateOptions{})
	s.Must(err)
}

// If join or renew fails while it tests or stores the new token, the stored token can still request
// its successor. Once the command succeeds, only the new token can.
func TestFailedJoinChangesNothing(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0", "--self-renew")
	stored := s.client(s.entry("sjc", "dfw"))
	s.Must(s.ask(stored, account, ninety))
	s.grants("dfw", "excess", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: s.NS},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"delete"}})
	s.says(s.exits(1, s.joinArgs("sjc", "dfw", "--ttl", "1h")...).Stderr, "its kubeconfig does not work", "delete of secrets")
	s.Must(s.ask(stored, account, ninety))
	s.Must(s.cluster("dfw").Client().RbacV1().RoleBindings(s.NS).Delete(s.Ctx, "excess", metav1.DeleteOptions{}))

	gateway := s.gateways("sjc")[0]
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/secrets/"+clustersSecret) {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			honest.ServeHTTP(w, r)
		})
	})
	s.says(s.exits(1, s.joinArgs("sjc", "dfw")...).Stderr, "storing dfw.yaml in Secret fernetcast-clusters: 403")
	s.says(s.exits(1, "renew", "dfw").Stdout, "dfw: failed: storing the new token: 403")
	s.Must(s.ask(stored, account, ninety))
	gateway.Spoil(nil)
	s.exits(0, "renew", "dfw")
	s.forbids("a successor by the token before", func() error { return s.ask(stored, account, ninety) })
	s.Must(s.ask(s.client(s.entry("sjc", "dfw")), account, ninety))
}

// Before renew keeps a token, it tries the token. renew replaces a rejected token, fails if a token
// lacks permissions, and reports a token that it couldn't try.
func TestRenewTriesTokens(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	for _, remote := range []string{"dfw", "iad", "ord"} {
		s.join("sjc", remote, "--wait", "0")
	}
	accounts := s.cluster("dfw").Client().CoreV1().ServiceAccounts(s.NS)
	s.Must(accounts.Delete(s.Ctx, account, metav1.DeleteOptions{}))
	_, err := accounts.Create(s.Ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
	s.Must(err)
	s.Until(func(context.Context) error { // an API server caches a valid token for 10 s
		r, err := s.fernetcast.Run(s.Ctx, "renew")
		s.Must(err)
		if !strings.Contains(r.Stdout, "dfw: renewed, expires at ") {
			return errors.New(r.Stdout)
		}
		return nil
	})
	s.ends(s.check(0, "dfw"), "identity", "pass")
	closed, err := s.cluster("ord").Proxy()
	s.Must(err)
	s.Must(closed.Set(testenv.Refuse))
	ord := s.altered("ord", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.Server = closed.URL() })
	s.store("ord", ord)
	s.says(s.exits(0, "renew").Stdout, "ord: kept, expires at ", "it could not be tried: dial tcp", "dfw: kept, expires at ", ": it is due for renewal at ")
	s.Must(s.cluster("iad").Client().RbacV1().RoleBindings(s.NS).Delete(s.Ctx, account, metav1.DeleteOptions{}))
	s.Until(func(context.Context) error {
		r, err := s.fernetcast.Run(s.Ctx, "renew")
		s.Must(err)
		if r.Code != 1 || !strings.Contains(r.Stdout, "iad: failed: it may not get") {
			return errors.New(r.Stdout)
		}
		return nil
	})
}

// A client certificate can't be renewed. When the certificate is due for renewal or rejected, renew
// fails and says what to do.
func TestRenewCertificate(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	for _, try := range []struct {
		ends time.Time
		code int
		says string
	}{
		{time.Now().Add(240 * time.Hour), 0, "dfw: kept, expires at "},
		{time.Now().Add(-time.Minute), 1, "dfw: failed: its kubeconfig has a client certificate, valid until "},
	} {
		certificate, err := s.cluster("dfw").CertificateKubeconfig(s.NS, try.ends)
		s.Must(err)
		s.store("dfw", certificate)
		s.says(s.exits(try.code, "renew").Stdout, try.says)
		if try.code == 1 {
			s.says(s.exits(1, "renew", "--dry-run").Stdout, "only tokens can be renewed: to store a token instead: fernetcast --namespace "+s.NS+" join dfw")
		}
	}
}

// shortens limits the tokens that an API server behind a gateway issues.
func shortens(gateway *testenv.Gateway, life time.Duration) {
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				var request authenticationv1.TokenRequest
				text, err := io.ReadAll(r.Body)
				if err == nil {
					err = json.Unmarshal(text, &request)
				}
				request.Spec.ExpirationSeconds = ptr.To(int64(life / time.Second))
				if text, _ = json.Marshal(request); err != nil {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
			}
			honest.ServeHTTP(w, r)
		})
	})
}

// If an API server limits tokens to a day, join prints a schedule for the CronJob, and check warns
// until the CronJob has it.
func TestScheduleOfShortTokens(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	gateway := s.gateways("dfw")[0]
	shortens(gateway, 24*time.Hour)
	r := s.exits(0, "join", "dfw", "--remote-context", "dfw", "--server", gateway.URL(), "--yes", "--wait", "0", "--self-renew")
	s.says(r.Stderr, "The API server limits tokens to 2", `A weekly renewal is too rare for it: in manifests/renew, set the schedule to "17 * * * *".`)
	s.ends(s.check(0, "dfw"), "expiry", "pass")
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "fernetcast-renew"}}
	job.Spec.Schedule = "17 3 * * 1"
	job.Spec.JobTemplate.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "renew", Image: "renew"}}}
	jobs := s.cluster("sjc").Client().BatchV1().CronJobs(s.NS)
	job, err := jobs.Create(s.Ctx, job, metav1.CreateOptions{})
	s.Must(err)
	s.ends(s.check(0, "dfw"), "expiry", "warn", "too soon for CronJob fernetcast-renew, which runs at 17 3 * * 1", "change its schedule to: 17 * * * *")
	job.Spec.Schedule = "17 * * * *"
	_, err = jobs.Update(s.Ctx, job, metav1.UpdateOptions{})
	s.Must(err)
	s.ends(s.check(0, "dfw"), "expiry", "pass")
}
