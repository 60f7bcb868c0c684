package testenv

import (
	"encoding/binary"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// Protobuf is the content type of an API server's answers in protobuf.
const Protobuf = runtime.ContentTypeProtobuf

// Encoded is an object as an API server writes it in protobuf. It panics where
// the object is none of core's.
func Encoded(object runtime.Object) []byte {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), Protobuf)
	// It is copied, because to encode it sets its kind.
	data, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), object.DeepCopyObject())
	if err != nil {
		panic(fmt.Sprintf("encoding a %T: %v", object, err))
	}
	return data
}

// Event is one of a watch, as an API server sends it, after four bytes that
// tell its length. The object is encoded already.
func Event(kind watch.EventType, object []byte) []byte {
	data, err := (&metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		panic(fmt.Sprintf("encoding an event: %v", err))
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

// Failure is a Status with a code, as an API server fills it in.
func Failure(code int, st metav1.Status) *metav1.Status {
	st.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	st.Status, st.Code = metav1.StatusFailure, int32(code)
	return &st
}

// Absent is what an API server says of the Secret where there is none.
func Absent() *metav1.Status {
	return Failure(http.StatusNotFound, metav1.Status{Reason: metav1.StatusReasonNotFound, Message: "secrets \"" + SecretName + "\" not found",
		Details: &metav1.StatusDetails{Kind: "secrets", Name: SecretName}})
}

// Answer answers a request as an API server does.
func Answer(w http.ResponseWriter, code int, object runtime.Object) {
	w.Header().Set("Content-Type", Protobuf)
	w.WriteHeader(code)
	_, _ = w.Write(Encoded(object)) // a client that went away is no matter
}
