package regions

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// rightsAdvice is text that must appear only if RBAC permissions are missing.
const rightsAdvice = "to grant the missing rights: fernetcast "

// TestForbiddenBy checks that only a 403 from RBAC leads to advice about permissions. For other
// causes, the status must show the API server's own message. Once the cause is gone, the remote
// must catch up by itself.
func TestForbiddenBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	var all []*forbidder
	for _, f := range []*forbidder{
		{name: "quota", forbid: (*forbidder).byQuota, state: "Denied", words: "is forbidden: exceeded quota:"},
		{name: "terminating", forbid: (*forbidder).byTermination, state: "Denied", words: "because it is being terminated"},
		{name: "policy", forbid: byPolicy(metav1.StatusReasonForbidden), state: "Denied", words: "denied request: you cannot change this resource without approval"},
		{name: "policy-invalid", forbid: byPolicy(metav1.StatusReasonInvalid), state: "Failed", words: "denied request: you cannot change this resource without approval"},
		{name: "webhook", forbid: (*forbidder).byWebhook, state: "Denied", words: "denied the request: you cannot change this resource without approval"},
	} {
		f.outpost = w.outpost(f.name, "dfw")
		f.lift = f.forbid(f)
		f.waitRejected()
		all = append(all, f)
	}
	w.joinAs("iad", testenv.Access{Role: testenv.NoRole})
	_, err := shared.Cluster("ord").Put(w.Ctx, w.NS, shared.Keys.NewRepository(3, 3))
	w.Must(err)
	w.joinAs("ord", testenv.Access{Role: testenv.NoUpdateRole})
	run := w.run("--backoff-max", "2s")
	check := func(name, state, words string, rights bool) {
		t.Helper()
		run.shows(name, state, words)
		if detail := run.detail(name, ""); strings.Contains(detail, rightsAdvice) != rights {
			t.Errorf("%s: got %s; advice about permissions wanted: %t", name, detail, rights)
		}
	}
	for _, f := range all {
		check(f.name, f.state, f.words, false)
	}
	check("iad", "Denied", "cannot get resource", true)
	check("ord", "Denied", "cannot update resource", true)
	for _, command := range []string{"push", "status"} {
		// status doesn't write, so it can't discover that writes are rejected.
		if table, most := w.exits(1, command), map[string]int{"push": 2, "status": 1}[command]; strings.Count(table, rightsAdvice) != most {
			t.Errorf("%s gives the advice about permissions %d times, want at most %d:\n%s", command, strings.Count(table, rightsAdvice), most, table)
		}
	}
	for _, f := range all {
		if f.lift == nil {
			continue
		}
		w.Must(f.lift())
		w.arrived(f.history, keys)
		run.shows(f.name, "Synced", "")
	}
}

// forbidder is a remote whose API server rejects writes of the Secret for a reason other than RBAC.
type forbidder struct {
	*outpost
	name, state, words string
	// forbid makes the API server reject writes. It returns a function that ends this, or nil if
	// that is impossible.
	forbid func(*forbidder) (lift func() error)
	lift   func() error
}

// waitRejected waits until even an administrator's write is rejected.
func (f *forbidder) waitRejected() {
	f.w.Helper()
	f.w.Until(func(ctx context.Context) error {
		_, err := f.cluster.Client().CoreV1().Secrets(f.ns).Create(ctx,
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a-try"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return errors.New("an administrator can still create a Secret")
		}
		return nil
	})
}

// byQuota creates a quota that is used up. It sets the quota's status itself, because no controller
// runs.
func (f *forbidder) byQuota() func() error {
	f.w.Helper()
	none := corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("0")}
	quotas := f.cluster.Client().CoreV1().ResourceQuotas(f.ns)
	quota, err := quotas.Create(f.w.Ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "no-secrets"}, Spec: corev1.ResourceQuotaSpec{Hard: none},
	}, metav1.CreateOptions{})
	f.w.Must(err)
	quota.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none}
	_, err = quotas.UpdateStatus(f.w.Ctx, quota, metav1.UpdateOptions{})
	f.w.Must(err)
	return func() error { return quotas.Delete(f.w.Ctx, "no-secrets", metav1.DeleteOptions{}) }
}

// byTermination deletes the namespace, which stays Terminating forever without controllers.
func (f *forbidder) byTermination() func() error {
	f.w.Helper()
	f.w.Must(f.cluster.Client().CoreV1().Namespaces().Delete(f.w.Ctx, f.ns, metav1.DeleteOptions{}))
	return nil
}

// secretsOf returns the selector and the rule that match the namespace's Secrets, for a policy or a
// webhook.
func (f *forbidder) secretsOf() (*metav1.LabelSelector, admissionregistrationv1.RuleWithOperations) {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: f.ns}},
		admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
		}
}

// refusal is a message that resembles RBAC's messages.
const refusal = "you cannot change this resource without approval"

func byPolicy(reason metav1.StatusReason) func(*forbidder) func() error {
	return func(f *forbidder) func() error {
		f.w.Helper()
		client := f.cluster.Client().AdmissionregistrationV1()
		namespace, rule := f.secretsOf()
		meta := metav1.ObjectMeta{Name: f.ns}
		_, err := client.ValidatingAdmissionPolicies().Create(f.w.Ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: meta,
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionregistrationv1.MatchResources{
					NamespaceSelector: namespace, ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: rule}},
				},
				Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: refusal, Reason: &reason}},
			},
		}, metav1.CreateOptions{})
		f.w.Must(err)
		_, err = client.ValidatingAdmissionPolicyBindings().Create(f.w.Ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: meta,
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: f.ns, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			},
		}, metav1.CreateOptions{})
		f.w.Must(err)
		return func() error {
			return client.ValidatingAdmissionPolicyBindings().Delete(f.w.Ctx, f.ns, metav1.DeleteOptions{})
		}
	}
}

// byWebhook starts a webhook server that rejects all writes.
func (f *forbidder) byWebhook() func() error {
	f.w.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Code: http.StatusForbidden, Message: refusal}}
		// An error only means that the client has disconnected.
		_ = json.NewEncoder(w).Encode(review)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	f.w.Cleanup(server.Close)
	client := f.cluster.Client().AdmissionregistrationV1().ValidatingWebhookConfigurations()
	namespace, rule := f.secretsOf()
	none := admissionregistrationv1.SideEffectClassNone
	_, err := client.Create(f.w.Ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: f.ns},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: fmt.Sprintf("%s.example.com", f.ns), NamespaceSelector: namespace, Rules: []admissionregistrationv1.RuleWithOperations{rule},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: ptr.To(server.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	f.w.Must(err)
	return func() error { return client.Delete(f.w.Ctx, f.ns, metav1.DeleteOptions{}) }
}
