package testenv_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

func TestGatewaySeesAndSpoilsRequests(t *testing.T) {
	cluster, namespace, keys := place(t, "dfw")
	gateway, err := cluster.Gateway()
	must(t, err)
	defer gateway.Close()
	c, _ := client(t, cluster, testenv.Access{Namespace: namespace, Role: testenv.RemoteRole, Server: gateway.URL()})
	secrets, ctx := c.CoreV1().Secrets(namespace), deadline(t)

	// What passes is the API server's, watches as well.
	events, err := secrets.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + testenv.SecretName})
	must(t, err)
	first := <-events.ResultChan()
	secret, err := secrets.Get(ctx, testenv.SecretName, metav1.GetOptions{})
	must(t, err)
	if s, ok := first.Object.(*corev1.Secret); !ok || !keys.Equal(s.Data) || !keys.Equal(secret.Data) {
		t.Error("the watch or the GET did not bring the keys")
	}

	// A write whose answer is lost was done, and the watch is lost with it.
	version := make(chan int, 1)
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			version <- r.ProtoMajor
			honest.ServeHTTP(httptest.NewRecorder(), r)
			testenv.Sever(r)
		})
	})
	secret.Data = shared.Keys.Rotated(secret.Data, 2)
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); err == nil {
		t.Error("an answer came over a connection that was severed")
	}
	for range events.ResultChan() { // until it ends, or the deadline does
	}
	must(t, cluster.Holds(ctx, namespace, secret.Data))
	if v := <-version; v != 2 {
		t.Errorf("the client spoke HTTP/%d, wanted 2 as with an API server", v)
	}

	gateway.Spoil(nil)
	_, err = secrets.Get(ctx, testenv.SecretName, metav1.GetOptions{})
	must(t, err)
	gateway.Cut()
	_, err = secrets.Get(ctx, testenv.SecretName, metav1.GetOptions{})
	must(t, err)

	came := gateway.Requests()
	methods := []string{"GET", "GET", "PUT", "GET", "GET"}
	if !slices.EqualFunc(came, methods, func(r testenv.Request, method string) bool { return r.Method == method }) ||
		!came[0].Watch || came[1].Watch || came[1].Came.Before(came[0].Came) {
		t.Errorf("it saw %+v, wanted %v, the first a watch", came, methods)
	}
}
