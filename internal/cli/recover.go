package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/promotion"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newRecover(o *options) *cobra.Command {
	var yes bool
	var from string
	var opts promotion.Options
	cmd := &cobra.Command{
		Use:   "recover --from REMOTE",
		Short: "Put a remote's keys back into the source, after its own were lost",
		Long: `Puts the key set that REMOTE was given back into this cluster's Secret, after the
Secret was emptied, deleted or made again with other keys. It shows both key sets,
which tokens are good again and which are lost, asks, and writes the keys and the
mark of the main in one request, with a term above all that it read. Then it goes
on as promote does.

It refuses keys that are not what their stamp says was pushed, and while a Job of
the rotation is active here: that Job would be run again without the keys. It
also refuses keys that another main has pushed, or one of a lower term, and where
this main's own keys continue them, or are newer in a Secret that is refused or
has lost its mark: --force recovers in spite of these. If only one key here is
bad, it prints the command that repairs it.

It is run with an operator's rights: the sidecar may not write the source.`,
		Example:           "  fernetcast recover --from dfw --yes",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return errors.New("recover needs the remote that has the keys: --from REMOTE")
			}
			if err := asks(cmd, yes); err != nil {
				return err
			}
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			if _, err := s.choose([]string{from}); err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			home, err := o.sourceConfig()
			if err != nil {
				return err
			}
			here, err := o.apis(home)
			if err != nil {
				return err
			}
			defer here.Close()
			say := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			p := &promoting{session: s, outcomes: map[string]pusher.Outcome{}}
			run := &promotion.Recovery{
				Promotion: promotion.Promotion{
					Options: opts, Secret: o.namespace + "/" + o.secret, Source: p, Fleet: p, Pause: markPause, Say: say,
					Confirm: func(ctx context.Context) bool { return yes || confirmed(ctx, cmd) },
				},
				From: from, Context: o.context, Create: p.create,
				Idle: func(ctx context.Context) error { return idle(ctx, here, o.namespace, say) },
			}
			if err := run.Run(cmd.Context()); err != nil {
				return exitError{err}
			}
			return p.conclude(cmd.OutOrStdout(), run.Ignore)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "remote whose keys are put back")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&opts.Force, "force", false, "also keys that another main has pushed, of a lower term, or older than this cluster's own")
	complete(cmd, "from", o.completeRemotes)
	o.identityFlag(cmd)
	return cmd
}

// idle says which Job of the rotation is active, so that nothing may be written now.
func idle(ctx context.Context, here *setup.APIs, namespace string, say func(string)) error {
	jobs, err := here.Batch.Jobs(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		say("Jobs may not be looked at here: make sure by yourself that no Job of " + setup.RotationJob + " is running.")
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for a rotation that is under way: %s", mirror.Explain(err))
	}
	for _, job := range jobs.Items {
		if ofRotation(job) && unfinished(job) {
			return fmt.Errorf("the rotation's Job %s is active: it would be run again without these keys; suspend CronJob %s, and wait until the Job has ended, or delete it: kubectl --namespace %s delete job %s",
				mirror.Printable(job.Name), setup.RotationJob, namespace, mirror.Printable(job.Name))
		}
	}
	return nil
}

// ofRotation says whether a Job is the CronJob's, or was made by hand after it, which
// kubectl create job --from does by an owner, and people do by the name.
func ofRotation(job batchv1.Job) bool {
	owner := metav1.GetControllerOf(&job)
	return owner != nil && owner.Name == setup.RotationJob || strings.HasPrefix(job.Name, setup.RotationJob)
}

// unfinished says whether pods of a Job run, or may still be made.
func unfinished(job batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == "True" {
			return job.Status.Active > 0
		}
	}
	return true
}
