package setup

import (
	"context"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Rotating returns the name of a Job of [RotationJob] that runs pods or may still create some, or ""
// if there is none.
func (a *APIs) Rotating(ctx context.Context, namespace string) (string, error) {
	jobs, err := a.Batch.Jobs(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, job := range jobs.Items {
		if ofRotation(job) && unfinished(job) {
			return mirror.Name(job.Name), nil
		}
	}
	return "", nil
}

// ofRotation reports whether a Job was created by the CronJob or manually from it. kubectl create job
// --from sets the owner. Jobs from other tools are recognized by the name's prefix.
func ofRotation(job batchv1.Job) bool {
	owner := metav1.GetControllerOf(&job)
	return owner != nil && owner.Name == RotationJob || strings.HasPrefix(job.Name, RotationJob)
}

// unfinished reports whether a Job has pods or may create some. A Job can be complete or failed while
// its last pods are terminating.
func unfinished(job batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == "True" {
			return job.Status.Active > 0
		}
	}
	return true
}
