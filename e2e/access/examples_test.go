package access

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// examples returns the examples in a command's --help.
func (s *stage) examples(command string) (all [][]string) {
	s.Helper()
	help := s.exits(0, command, "--help").Stdout
	_, text, _ := strings.Cut(help, "\nExamples:\n")
	for line := range strings.Lines(text) {
		words, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "  fernetcast ")
		if !ok {
			break
		}
		all = append(all, strings.Fields(words))
	}
	if len(all) == 0 {
		s.Fatalf("%s --help has no examples", command)
	}
	return all
}

// The examples in each command's --help work unchanged if they are run in a sensible order and the
// contexts sjc and dfw exist.
func TestExamples(t *testing.T) {
	s := newStage(t)
	s.fernetcast = s.fernetcast.WithEnv("NO_PROXY=*") // otherwise, requests to this machine's addresses other than loopback would use an HTTP proxy
	_, err := s.cluster("sjc").Put(s.Ctx, s.NS, shared.Keys.NewRepository(8, 7))
	s.Must(err)
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	for _, region := range []string{"sjc", "dfw"} { // join rejects loopback addresses
		outside, err := s.cluster(region).Outside()
		s.Must(err)
		config.Clusters[region].Server, config.Clusters[region].TLSServerName = outside.URL(), "127.0.0.1"
	}
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))

	done := map[string]bool{"run": true, "completion": true, "help": true, "files": true, "probe": true} // packages e2e/files and e2e/keystone test these
	all := func(commands ...string) {
		t.Helper()
		for _, command := range commands {
			done[command] = true
			for _, example := range s.examples(command) {
				s.exits(0, example...)
			}
		}
	}
	run := s.examples("run")[0]
	for i, word := range run { // replace the paths and ports with this test's own
		switch {
		case strings.HasPrefix(word, "/"):
			run[i] = t.TempDir()
			s.cluster("sjc").Mount(t, s.NS, clustersSecret, run[i], 0o600)
		case strings.HasPrefix(word, ":"):
			address, err := shared.Address()
			s.Must(err)
			run[i] = address
		}
	}
	process, err := s.fernetcast.Start(run...)
	s.Must(err)
	t.Cleanup(process.Kill)
	all("version", "promote", "join", "push", "status", "check", "wait", "renew")
	s.Until(func(context.Context) error {
		if !strings.Contains(process.Stderr.String(), "remote added") {
			return errors.New("run has not loaded dfw")
		}
		return nil
	})
	s.Must(process.Terminate())
	s.wipe()
	all("recover", "leave")
	usage := s.exits(0, "--help").Stdout
	_, commands, _ := strings.Cut(usage, "\nAvailable Commands:\n")
	for line := range strings.Lines(commands) {
		name := strings.Fields(line)
		if len(name) == 0 {
			break
		}
		if !done[name[0]] {
			t.Errorf("no example of %s was run", name[0])
		}
	}
}
