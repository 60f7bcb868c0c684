package setup

import (
	"context"
	"fmt"
	"strings"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Rotating returns the name of a Job of [RotationJob] that runs pods or may still create some, or ""
// if there is none.
func (a *APIs) Rotating(ctx context.Context, namespace string) (string, error) {
	name := ""
	err := EachPage(ctx, jobsPage, a.Batch.Jobs(namespace).List, func(jobs *batchv1.JobList) {
		for _, job := range jobs.Items {
			if ofRotation(job) && unfinished(job) {
				name = mirror.Name(job.Name)
			}
		}
	})
	return name, err
}

// jobsPage is the number of Jobs per page, and maxPages bounds the pages. A large Job has about 800
// nested values, most of them in managedFields, and package kube limits a response to 5,000.
const jobsPage, maxPages = 5, 200

// RenewalSchedule returns the schedule of manifests/renew, or "" if it can't be read.
func (a *APIs) RenewalSchedule(ctx context.Context, namespace string) string {
	job, err := a.Batch.CronJobs(namespace).Get(ctx, "fernetcast-renew", metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return job.Spec.Schedule
}

// EachPage calls visit for each page of a list, with up to size items.
func EachPage[L metav1.ListInterface](ctx context.Context, size int64, list func(context.Context, metav1.ListOptions) (L, error), visit func(L)) error {
	next := ""
	for range maxPages {
		page, err := list(ctx, metav1.ListOptions{Limit: size, Continue: next})
		if err != nil {
			return err
		}
		visit(page)
		if next = page.GetContinue(); next == "" {
			return nil
		}
	}
	return kube.NewRefusal(fmt.Sprintf("the server's list has more than %d pages", maxPages), true)
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
