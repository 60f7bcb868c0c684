package keystone

import (
	"context"
	"fmt"
	"os"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// These are the commands of keystone-manage that a job runs.
const (
	rotate = "fernet_rotate"
	setUp  = "fernet_setup"
)

// Job simulates a pod of openstack-helm's rotation CronJob. Like the script fernet-manage.py there,
// it reads the Secret, writes the files, runs keystone-manage, and replaces the whole Secret with a
// PUT that includes the resourceVersion. As with an emptyDir, the files in its scratch folder
// survive a failed run.
type Job struct {
	region  *Region
	scratch config
	// Overtaken, if not nil, is called once, right before the next PUT.
	Overtaken func() error
}

// Job creates a Job with an empty scratch folder.
func (r *Region) Job(maxActive int) (*Job, error) {
	scratch, err := r.cloud.configure(r.Name+"-job", maxActive)
	return &Job{region: r, scratch: scratch}, err
}

// Rotate runs fernet_rotate. If another client changes the Secret in the meantime, the error
// satisfies IsConflict.
func (j *Job) Rotate(ctx context.Context) (testenv.Rotation, error) {
	return j.run(ctx, rotate)
}

// Setup runs fernet_setup, which creates keys if there are none.
func (j *Job) Setup(ctx context.Context) (testenv.Rotation, error) { return j.run(ctx, setUp) }

func (j *Job) run(ctx context.Context, command string) (testenv.Rotation, error) {
	r := j.region
	return r.Cluster.RotateBy(ctx, r.namespace, func(keys testenv.Repository) (testenv.Repository, error) {
		if command == rotate {
			if err := writeKeys(j.scratch.repository, keys); err != nil {
				return nil, err
			}
		}
		if err := r.cloud.manage(ctx, j.scratch, command, "--keystone-user", r.cloud.user, "--keystone-group", r.cloud.group); err != nil {
			return nil, err
		}
		keys, err := readKeys(j.scratch.repository)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			r.cloud.env.Keys.Remember(string(key))
		}
		if overtaken := j.Overtaken; overtaken != nil {
			j.Overtaken = nil
			err = overtaken()
		}
		return keys, err
	})
}

// Rotate runs the rotation CronJob once: it creates a Job, rotates, and removes the Job's files.
func (r *Region) Rotate(ctx context.Context, maxActive int) (testenv.Rotation, error) {
	job, err := r.Job(maxActive)
	if err != nil {
		return testenv.Rotation{}, err
	}
	done, err := job.Rotate(ctx)
	if err != nil {
		return testenv.Rotation{}, err
	}
	if err := os.RemoveAll(job.scratch.repository); err != nil {
		return testenv.Rotation{}, fmt.Errorf("removing a job's scratch folder: %w", err)
	}
	return done, nil
}
