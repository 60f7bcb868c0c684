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

// Protobuf is the content type of an API server's protobuf responses.
const Protobuf = runtime.ContentTypeProtobuf

// Encoded returns an object as an API server encodes it in protobuf. It panics if the object is not
// in the core group.
func Encoded(object runtime.Object) []byte {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), Protobuf)
	// Encoding sets the kind of the object.
	data, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), object.DeepCopyObject())
	if err != nil {
		panic(fmt.Sprintf("encoding a %T: %v", object, err))
	}
	return data
}

// Event returns a watch event as an API server sends it in protobuf, with a length prefix of four
// bytes. The object must already be encoded.
func Event(kind watch.EventType, object []byte) []byte {
	data, err := (&metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		panic(fmt.Sprintf("encoding an event: %v", err))
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

// Failure returns st as the Status of a failed request with the given HTTP status code.
func Failure(code int, st metav1.Status) *metav1.Status {
	st.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	st.Status, st.Code = metav1.StatusFailure, int32(code)
	return &st
}

// Absent returns the Status with which an API server responds if the Secret doesn't exist.
func Absent() *metav1.Status {
	return Failure(http.StatusNotFound, metav1.Status{Reason: metav1.StatusReasonNotFound, Message: "secrets \"" + SecretName + "\" not found",
		Details: &metav1.StatusDetails{Kind: "secrets", Name: SecretName}})
}

// Answer responds to a request with an object in protobuf, as an API server does.
func Answer(w http.ResponseWriter, code int, object runtime.Object) {
	w.Header().Set("Content-Type", Protobuf)
	w.WriteHeader(code)
	_, _ = w.Write(Encoded(object)) // the client may have disconnected
}
