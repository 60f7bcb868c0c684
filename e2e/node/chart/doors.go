package chart

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// Door is the address of one Keystone pod.
type Door struct {
	Region, Deployment, Pod string
	URL                     string // Keystone's URL
}

// Doors waits until every Keystone in the regions is Ready, and returns a Door for each pod.
// regions maps each region to its namespace.
func Doors(ctx context.Context, client kubernetes.Interface, regions map[string]string) (open []Door, err error) {
	err = testenv.Until(ctx, 200*time.Millisecond, func(ctx context.Context) error {
		open = nil
		for region, ns := range regions {
			pods, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			deployments, err := client.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, d := range deployments.Items {
				if d.Status.ReadyReplicas != *d.Spec.Replicas || d.Status.UpdatedReplicas != *d.Spec.Replicas || d.Status.Replicas != *d.Spec.Replicas {
					return fmt.Errorf("%s in %s has %d of %d pods Ready: %s", d.Name, ns, d.Status.ReadyReplicas, *d.Spec.Replicas, trouble(pods.Items))
				}
				open = append(open, doors(region, &d, pods.Items)...)
			}
		}
		return nil
	})
	return open, err
}

func doors(region string, d *appsv1.Deployment, pods []corev1.Pod) (open []Door) {
	for _, pod := range pods {
		if strings.HasPrefix(pod.Name, d.Name+"-") && pod.DeletionTimestamp == nil && IsReady(&pod) {
			open = append(open, Door{region, d.Name, pod.Name, "http://" + pod.Status.PodIP + ":5000"})
		}
	}
	return open
}

// IsReady reports whether the pod is Ready.
func IsReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// trouble describes the states of all containers that are not Ready.
func trouble(pods []corev1.Pod) string {
	var lines []string
	for _, pod := range pods {
		for _, c := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if !c.Ready {
				state, _ := json.Marshal(c.State)
				lines = append(lines, pod.Name+" "+c.Name+": "+string(state))
			}
		}
	}
	return strings.Join(lines, "\n")
}
