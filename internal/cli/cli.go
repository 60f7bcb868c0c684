// Package cli is the command line: it reads flags, wires the other packages
// together, and prints.
//
// It decides nothing about keys.
//
// Its files form layers. A file uses its own layer and those below it:
//   - cli.go: the process and the root command
//   - run.go, promote.go, push.go, and so on: each command
//   - promoting.go and complete.go: shared by some commands
//   - session.go: the source and the remotes, read live
//   - stored.go: the Secrets with the remotes' kubeconfigs and tokens
//   - source.go: clients of the source's cluster
//   - options.go: flags of all commands, and the log
//   - operator.go: the operator's contexts
//   - flags.go and output.go: kinds of flags, questions, and exit codes
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// gcPercent is how much the heap may grow, in percent of the memory in use, before
// the garbage collector runs. A remote is mostly memory in use, so Go's default of 100
// would nearly double the memory of a thousand remotes. The collector costs little
// compared with TLS.
const gcPercent = 30

// Main runs the program with the arguments of the process until it is done, or until
// SIGINT or SIGTERM, and returns its exit code.
func Main() int {
	if err := prepareProcess(); err != nil {
		fmt.Fprintln(os.Stderr, "fernetcast:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return execute(ctx, calledAs(os.Args), os.Stdin, os.Stdout, os.Stderr)
}

// The names by which kubectl runs the program: as a plugin, and to complete its arguments.
const (
	pluginName     = "kubectl-fernetcast"
	completionName = "kubectl_complete-fernetcast"
)

// call is a program's name, as a person types it, and its arguments.
type call struct {
	name string
	args []string
}

// calledAs returns how the process was called. kubectl finds a plugin and its completion
// by their file names, which may be links to one program.
func calledAs(args []string) call {
	switch filepath.Base(args[0]) {
	case pluginName:
		return call{"kubectl fernetcast", args[1:]}
	case completionName:
		return call{"kubectl fernetcast", append([]string{cobra.ShellCompRequestCmd}, args[1:]...)}
	}
	return call{"fernetcast", args[1:]}
}

// prepareProcess configures the whole process, before any client is created.
func prepareProcess() error {
	// A core would hold the keys.
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	// HTTP/2 pings detect a dead connection after 5 + 5 s instead of apimachinery's
	// 30 + 15 s. Package kube has another value for remotes.
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if err := os.Setenv(name, "5"); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	capture(slog.New(slog.DiscardHandler)) // until a command has a logger
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	return nil
}

func execute(ctx context.Context, c call, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(c.name)
	root.SetArgs(c.args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var trouble exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &trouble):
		if trouble.err != nil {
			fmt.Fprintln(stderr, "fernetcast:", err)
		}
		return exitTrouble
	}
	fmt.Fprintf(stderr, "fernetcast: %v\nRun '%s --help' for usage.\n", err, cmd.CommandPath())
	return exitUsage
}

func newRoot(name string) *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use: "fernetcast COMMAND",
		// The usage and the examples show the name that the operator typed.
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:       "Keep Keystone's Fernet keys identical in every region",
		Long: `fernetcast keeps Keystone's Fernet keys identical in every region.

It runs next to Keystone in the main region and watches the Secret
openstack/keystone-fernet-keys. After a rotation, it immediately writes the new
keys to the Secret of the same name in every remote cluster.

Exit codes: 0, everything is healthy; 1, the source or a remote is unhealthy, or
the command failed; 2, invalid usage or configuration.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Usage(); err != nil {
				return err
			}
			return errors.New("a command is required")
		},
	}
	o.register(root)
	root.AddCommand(
		newRun(o), newPromote(o), newPush(o), newStatus(o), newWait(o),
		newJoin(o), newLeave(o), newCheck(o), newRenew(o), newRecover(o), newFiles(o),
		newVersion(),
	)
	return root
}
