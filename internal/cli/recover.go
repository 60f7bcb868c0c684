package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
		Short: "Restore the source's keys from a remote",
		Long: `Restores the keys of this cluster's Secret from REMOTE, after the Secret was
emptied, deleted, or recreated with other keys. recover shows both key sets and
which tokens become valid or invalid, and asks for confirmation. Then it writes
the keys and the main region's mark in one request, with a higher term than any it
has read, and pushes the keys like promote.

It refuses keys that changed since they were pushed, and while a rotation Job is
active here, because a retry of that Job would overwrite the keys. Without --force,
it also refuses in these cases:

- Another main region pushed the remote's keys, or their term is not the highest.
- This cluster is the main region, and its keys are valid.
- This cluster's Secret is invalid or has lost its mark, and its keys are newer.
- The remote's primary is more than 1,000 above that of any other cluster.
- Another remote has newer or unrelated keys. --ignore excludes a remote.

If only one key here is invalid, recover prints the command that repairs it.

It writes with your credentials, because the sidecar can only read the source.
-o json prints the plan and, without --dry-run, the status after the pushes.`,
		Example: "  fernetcast recover --from dfw --dry-run\n  fernetcast recover --from dfw --yes",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.recover(cmd, from) },
	}
	o.register(cmd)
	cmd.Flags().StringVar(&from, "from", "", "remote to restore the keys from")
	cmd.Flags().BoolVar(&o.Force, "force", false, "restore keys even if they are from another main region, have a lower term, or are older than this cluster's")
	complete(cmd, "from", o.completeRemotes)
	return cmd
}

func (o *promoteOptions) recover(cmd *cobra.Command, from string) error {
	if from == "" {
		return errors.New("specify the remote that has the keys: --from REMOTE")
	}
	if slices.Contains(o.Ignore, from) {
		return fmt.Errorf("--ignore %s: it is the remote to recover from", from)
	}
	p, err := o.begin(cmd, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if _, err := p.choose([]string{from}); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	return p.run(cmd, &promotion.Recovery{
		Promotion: &p.promotion, From: from, Create: p.create, Idle: p.idle,
	})
}

// idle returns an error while a rotation Job is active, because that Job would overwrite the
// restored keys.
func (p *promoting) idle(ctx context.Context) error {
	job, err := p.home.Rotating(ctx, p.namespace)
	switch {
	case apierrors.IsForbidden(err):
		p.say("Warning: your credentials do not permit listing Jobs here. Make sure that no Job of CronJob " + setup.RotationJob + " is running.")
		return nil
	case err != nil:
		return fmt.Errorf("looking for an active rotation Job: %s", mirror.Explain(err))
	case job != "":
		return fmt.Errorf("rotation Job %s is active and would overwrite the restored keys; suspend CronJob %s, then wait until the Job ends, or delete it: %s delete job %s",
			job, setup.RotationJob, mirror.Kubectl("", p.namespace), mirror.Quote(job))
	}
	return nil
}
