// Command image builds the container image from the Dockerfile without a container engine. It
// writes an OCI layout and an archive of that layout, and can push the image to a registry. The
// same source, version, and Go release always produce the same bytes.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	source := flags.String("source", ".", "the repository")
	version := flags.String("version", "dev", "version of the program and tag of the image")
	out := flags.String("out", "dist", "directory for the layout (image/) and the archive")
	push := flags.String("push", "", "registry/name[:tag] to push the image to (default tag: the version)")
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp // the flag package has printed the error
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q: only flags are allowed", flags.Arg(0))
	}
	to, err := target(*push, *version) // fail before a build that takes minutes
	if err != nil {
		return err
	}
	index, err := build(ctx, *source, *version)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("reading the image's digest: %w", err)
	}
	layout, archive, err := write(index, *out, *version)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%s\n%s\n", layout, archive, digest)
	if to == nil {
		return nil
	}
	if err := upload(ctx, to, index); err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", to.Context(), digest)
	return nil
}

// tags matches a valid tag, according to the OCI distribution specification.
var tags = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// target returns the reference to push the image to, or nil if push is empty.
func target(push, version string) (name.Reference, error) {
	if !tags.MatchString(version) {
		return nil, fmt.Errorf("VERSION=%q is not a valid image tag: use 1 to 128 letters, digits, '.', '_', and '-', such as v1.2.3", version)
	}
	if push == "" {
		return nil, nil
	}
	to, err := name.NewTag(push, name.WithDefaultTag(version))
	if err != nil {
		return nil, fmt.Errorf("PUSH=%q is not registry/name[:tag], such as registry.example.com/fernetcast: %w", push, err)
	}
	return to, nil
}

// upload pushes the image with the credentials stored by `docker login` or similar commands.
func upload(ctx context.Context, to name.Reference, index v1.ImageIndex) error {
	err := remote.WriteIndex(to, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return fmt.Errorf("pushing to %s: %w; the credentials come from %s", to.Name(), err,
			filepath.Join(cmp.Or(os.Getenv("DOCKER_CONFIG"), "~/.docker"), "config.json"))
	}
	return nil
}
