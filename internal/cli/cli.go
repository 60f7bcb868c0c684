// Package cli implements the command line: it parses flags, connects the other packages,
// and prints results.
//
// It makes no decisions about keys.
//
// Its files form layers. Each file uses only its own layer and the layers below it:
//   - cli.go: the process, the root command, and version
//   - run.go, join.go and joining.go, push.go, and so on: one command each. join also uses wait.go,
//     and recover uses promote.go
//   - plan.go and complete.go: plans, questions, and results; completion of remotes
//   - session.go: the source, the remotes, and the Secrets that contain their kubeconfigs and tokens
//   - source.go: clients for the source's cluster, and how to reach each remote
//   - options.go: the global flags and the logger
//   - operator.go: the operator's kubectl contexts
//   - advice.go, flags.go, and output.go: suggested commands, flag types, exit codes, and output of a status
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// gcPercent is the default for GOGC. Most of the heap is live, so Go's default of 100 would
// nearly double the memory for a thousand remotes. Compared with TLS, more frequent garbage
// collection costs little.
const gcPercent = 30

// startPercent replaces gcPercent until the first syncs are done, at most for startTime. At
// startup, the live heap is small and grows quickly, so frequent collections would take half of the
// CPU time.
const (
	startPercent = 100
	startTime    = 30 * time.Second
)

// Main runs the command in [os.Args] until it finishes or the process gets SIGINT or SIGTERM.
// It returns the exit code.
func Main() int {
	if err := prepareProcess(); err != nil {
		fmt.Fprintln(os.Stderr, "fernetcast:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return execute(ctx, calledAs(os.Args), os.Stdin, os.Stdout, os.Stderr)
}

// kubectl runs the program under these names: as a plugin, and for shell completion.
const (
	pluginName     = "kubectl-fernetcast"
	completionName = "kubectl_complete-fernetcast"
)

// A call is the program's name as the user typed it, and its arguments.
type call struct {
	name string
	args []string
}

// calledAs parses the process's arguments. The plugin and its completion can be links to the same
// program, so the file name shows which of the two kubectl runs.
func calledAs(args []string) call {
	switch filepath.Base(args[0]) {
	case pluginName:
		return call{"kubectl fernetcast", args[1:]}
	case completionName:
		return call{"kubectl fernetcast", append([]string{cobra.ShellCompRequestCmd}, args[1:]...)}
	}
	return call{"fernetcast", args[1:]}
}

// prepareProcess sets process-wide options. Call it before creating any client.
func prepareProcess() error {
	capture(slog.New(slog.DiscardHandler)) // discard messages until a command has a logger
	// A core dump would contain the keys.
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	// HTTP/2 pings detect a dead connection after 5 + 5 s instead of apimachinery's
	// 30 + 15 s. For remotes, package kube sets its own value.
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if err := os.Setenv(name, "5"); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	collectAt(gcPercent)
	// Near 90% of the container's memory limit, collect garbage more often, so that the kernel
	// doesn't kill the process. If there is no limit, nothing changes. GOMEMLIMIT takes precedence.
	_, _ = memlimit.Set()
	return nil
}

// collectAt sets the garbage collector's percentage, unless the environment variable GOGC sets it.
func collectAt(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

func execute(ctx context.Context, c call, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(c.name)
	root.SetArgs(c.args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var trouble exitError
	if errors.As(err, &trouble) && trouble.err == nil {
		return exitTrouble
	}
	text := advise(cmd, mirror.Hide(err.Error()))
	if output := cmd.Flag("output"); output != nil && output.Value.String() == "json" {
		_ = json.NewEncoder(stdout).Encode(map[string]string{"error": text}) // if that fails, stderr has the error
	}
	fmt.Fprintln(stderr, "fernetcast:", text)
	if trouble.err != nil {
		return exitTrouble
	}
	fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
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
		Version:       release(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q; %sall commands are in --help", args[0], similar(cmd, args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Usage(); err != nil {
				return err
			}
			return errors.New("a command is required")
		},
	}
	root.SetFlagErrorFunc(usage)
	root.SetVersionTemplate("fernetcast {{.Version}}\n")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	o.register(root)
	root.AddCommand(
		newRun(o), newPromote(o), newPush(o), newStatus(o), newWait(o),
		newJoin(o), newLeave(o), newCheck(o), newRenew(o), newRecover(o), newFiles(o), newProbe(o),
		newVersion(),
	)
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  fernetcast version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			revision := "" // the commit, if the build recorded it
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = ", " + s.Value
					}
				}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "fernetcast %s (%s, %s/%s%s)\n", release(), runtime.Version(), runtime.GOOS, runtime.GOARCH, revision)
			return err
		},
	}
}
