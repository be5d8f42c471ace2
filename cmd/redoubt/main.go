// Command redoubt is the security system for machine-learning models.
//
// Each verb is a file here, named after it; commands lists them. Results go to
// stdout, progress and logs to stderr. The exit code is 0 when there is
// nothing to object to, 1 when something failed its gate, 2 for a usage or
// input error, 3 when nothing could be decided, and 130 when interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/redoubt-ml/redoubt"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is the program: it returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := exitCode(ctx, err)
	if code == 130 {
		fmt.Fprintln(os.Stderr, "redoubt: interrupted")
	} else if err != nil && !errors.Is(err, errSilent) {
		fmt.Fprintln(os.Stderr, "redoubt: "+strings.Join(strings.Fields(err.Error()), " "))
	}
	return code
}

// errSilent wraps an error whose story was told already.
var errSilent = errors.New("")

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return 130
	case errors.Is(err, redoubt.ErrGate):
		return 1
	case errors.Is(err, redoubt.ErrUndecided):
		return 3
	}
	return 2
}

// app is what every verb can use: the global flags and where to write.
type app struct {
	quiet  bool
	ort    string
	config string
}

// commands lists the verbs, in the order of the help.
var commands = []func(*app) *cobra.Command{
	newDemo,
	newRuntime,
	newInspect,
	newRun,
	newGradcheck,
	newAssess,
	newFalsify,
	newCertify,
	newKey,
	newSign,
	newVerify,
	newAttest,
	newScan,
	newBOM,
	newConvert,
	newServe,
	newModel,
	newConfig,
	newLogin,
	newUser,
	newToken,
	newPolicy,
	newReview,
	newStore,
	newSeal,
	newUnseal,
	newAudit,
	newDP,
	newPII,
	newAnon,
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "redoubt",
		Short: "The security system for machine-learning models",
		Long: `The security system for machine-learning models.

Redoubt attacks ONNX models the way adversaries do, without Python: it
differentiates the ONNX graph itself and runs it in ONNX Runtime. It measures,
doubts its own numbers, and writes reports that a pipeline can gate on.`,
		Example: `  redoubt demo
  redoubt assess model.onnx --data images.idx.gz,labels.idx.gz --eps 0.1
  redoubt inspect model.onnx`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: a.configure,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("redoubt {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "no progress on stderr")
	flags.StringVar(&a.ort, "ort", "", "ONNX Runtime library to use (default: found, see 'redoubt runtime info')")
	flags.StringVar(&a.config, "config", "", "YAML file of flags by name; environment REDOUBT_FLAG and flags given win")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see '%s --help'", err, cmd.CommandPath())
	})
	for _, c := range commands {
		root.AddCommand(group(c(a)))
	}
	return root
}

// group has a verb that is made of others refuse what none of them is, which cobra
// answers with the help and exit code 0.
func group(cmd *cobra.Command) *cobra.Command {
	for _, c := range cmd.Commands() {
		group(c)
	}
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	return cmd
}
