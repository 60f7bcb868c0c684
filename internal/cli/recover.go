package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/promotion"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func newRecover(all *options) *cobra.Command {
	o, from := &promoteOptions{options: all}, ""
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

It is run with an operator's rights: the sidecar may not write the source.

--dry-run prints the plan and changes nothing. -o json prints the plan and, unless
it is a dry run, the status after the pushes.`,
		Example:           "  fernetcast recover --from dfw --dry-run\n  fernetcast recover --from dfw --yes",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.recover(cmd, from) },
	}
	o.register(cmd)
	cmd.Flags().StringVar(&from, "from", "", "remote whose keys are put back")
	cmd.Flags().BoolVar(&o.Force, "force", false, "also keys that another main has pushed, of a lower term, or older than this cluster's own")
	complete(cmd, "from", o.completeRemotes)
	return cmd
}

func (o *promoteOptions) recover(cmd *cobra.Command, from string) error {
	if from == "" {
		return errors.New("recover needs the remote that has the keys: --from REMOTE")
	}
	p, err := o.begin(cmd, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if _, err := p.choose([]string{from}); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	return p.run(cmd, &promotion.Recovery{
		Promotion: &p.promotion, From: from, Context: o.context, Create: p.create, Idle: p.idle,
	})
}

// idle fails while a Job of the rotation is active, because nothing may be written then.
func (p *promoting) idle(ctx context.Context) error {
	_, here, err := p.connect()
	if err != nil {
		return err
	}
	job, err := here.Rotating(ctx, p.namespace)
	switch {
	case apierrors.IsForbidden(err):
		p.say("Jobs may not be looked at here: make sure by yourself that no Job of " + setup.RotationJob + " is running.")
		return nil
	case err != nil:
		return fmt.Errorf("looking for a rotation that is under way: %s", mirror.Explain(err))
	case job != "":
		return fmt.Errorf("the rotation's Job %s is active: it would be run again without these keys; suspend CronJob %s, and wait until the Job has ended, or delete it: kubectl --namespace %s delete job %s",
			mirror.Printable(job), setup.RotationJob, p.namespace, mirror.Printable(job))
	}
	return nil
}
