package manifests

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// attempt is a change to the Secret that fernetcast never makes.
type attempt struct {
	what   string
	change func(*corev1.Secret)
	// says is a part of the policy's message.
	says string
}

// additions returns attempts that add something to an existing Secret, or create the Secret with
// it.
func additions() []attempt {
	return []attempt{
		{"an owner that does not exist", ownedByNothing, "owner references"},
		{"one more finalizer", func(s *corev1.Secret) { s.Finalizers = append(s.Finalizers, "example.com/more") }, "finalizers"},
		{"the finalizer of a foreground deletion", func(s *corev1.Secret) {
			s.Finalizers = append(s.Finalizers, metav1.FinalizerDeleteDependents)
		}, "finalizers"},
		{"immutable", func(s *corev1.Secret) { s.Immutable = ptr.To(true) }, "immutable"},
		{"one more label", label("argocd.argoproj.io/secret-type", "cluster"), "labels"},
		{"the annotation of a ServiceAccount's token", tokenOfVictim, "annotations"},
		{"an annotation that copies another Secret", annotation("reflector.v1.k8s.emberstack.com/reflects", "default/other"), "annotations"},
		{"an annotation that looks like fernetcast's", annotation("fernetcast.example.com/region", "sjc"), "annotations"},
		{"a main region's mark", func(s *corev1.Secret) {
			for name, value := range map[string]string{"": "lax", "-term": "999", "-uid": string(s.UID)} {
				annotation("fernetcast/main"+name, value)(s)
			}
		}, "mark of a main"},
		{"a file next to the keys", func(s *corev1.Secret) { setData(s, "-rf") }, "numbers"},
		{"an index that only Python accepts as a number", func(s *corev1.Secret) { setData(s, "1_0") }, "numbers"},
		{"a file in stringData", func(s *corev1.Secret) { s.StringData = map[string]string{"keystone.conf": ""} }, "numbers"},
	}
}

// changes returns attempts that change or remove fields that putShared set. A server-side apply
// can't make some of them, because it can't remove fields.
func changes() []attempt {
	return []attempt{
		{"another owner", func(s *corev1.Secret) { s.OwnerReferences[0].UID = nothing }, "owner references"},
		{"an owner that blocks its deletion", func(s *corev1.Secret) {
			s.OwnerReferences[0].BlockOwnerDeletion = ptr.To(true)
		}, "owner references"},
		{"no owners", func(s *corev1.Secret) { s.OwnerReferences = nil }, "owner references"},
		{"no finalizers", func(s *corev1.Secret) { s.Finalizers = nil }, "finalizers"},
		{"no labels", func(s *corev1.Secret) { s.Labels = nil }, "labels"},
		{"a removed annotation", func(s *corev1.Secret) { delete(s.Annotations, "example.com/note") }, "annotations"},
		{"a changed label", label("application", "other"), "labels"},
		{"a changed annotation", annotation("example.com/note", "other"), "annotations"},
		{"a higher term in the mark", annotation("fernetcast/main-term", "1000"), "mark of a main"},
	}
}

// typed returns attempts to create the Secret with another type. The type of an existing Secret
// can't be changed.
func typed() []attempt {
	var all []attempt
	for kind, data := range map[corev1.SecretType]map[string][]byte{
		corev1.SecretTypeServiceAccountToken: nil,
		corev1.SecretTypeDockerConfigJson:    {corev1.DockerConfigJsonKey: []byte("{}")},
		corev1.SecretTypeDockercfg:           {corev1.DockerConfigKey: []byte("{}")},
		corev1.SecretTypeBasicAuth:           {corev1.BasicAuthUsernameKey: []byte("x")},
		corev1.SecretTypeSSHAuth:             {corev1.SSHAuthPrivateKey: []byte("x")},
		corev1.SecretTypeBootstrapToken:      nil,
		"helm.sh/release.v1":                 nil,
		"opaque":                             nil,
	} {
		all = append(all, attempt{"type " + string(kind), func(s *corev1.Secret) {
			s.Type, s.Data = kind, data
			if kind == corev1.SecretTypeServiceAccountToken {
				tokenOfVictim(s)
			}
		}, "type Opaque"})
	}
	return all
}

const nothing = "00000000-0000-4000-8000-000000000000"

func ownedByNothing(s *corev1.Secret) {
	s.OwnerReferences = append(s.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "nothing", UID: nothing})
}

func tokenOfVictim(s *corev1.Secret) { annotation(corev1.ServiceAccountNameKey, victim)(s) }

func annotation(name, value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { metav1.SetMetaDataAnnotation(&s.ObjectMeta, name, value) }
}

func label(name, value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { metav1.SetMetaDataLabel(&s.ObjectMeta, name, value) }
}

func setData(s *corev1.Secret, name string) {
	s.Data = maps.Clone(s.Data)
	s.Data[name] = []byte("x")
}
