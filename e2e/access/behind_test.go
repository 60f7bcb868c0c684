package access

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// serverNames are names that every test cluster's certificate is valid for.
var serverNames = map[string]string{"dfw": "localhost", "iad": "kubernetes.default.svc"}

// behindOneAddress starts a load balancer that forwards TLS connections to dfw or iad, depending on
// the server name. It replaces the operator's contexts for both with contexts for the load
// balancer's address, whose names sort in the opposite order.
func (s *stage) behindOneAddress() (address string, contexts map[string]string) {
	s.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.Must(err)
	s.Cleanup(func() { _ = listener.Close() })
	servers := map[string]string{}
	for remote, name := range serverNames {
		servers[name] = strings.TrimPrefix(s.cluster(remote).URL, "https://")
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the listener is closed
			}
			go forward(conn, servers)
		}
	}()
	address = "https://" + listener.Addr().String()
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	s.Must(err)
	contexts = map[string]string{"iad": "alpha", "dfw": "beta"}
	for remote, context := range contexts {
		delete(config.Contexts, remote)
		config.Clusters[remote].Server, config.Clusters[remote].TLSServerName = address, serverNames[remote]
		config.Contexts[context] = &clientcmdapi.Context{Cluster: remote, AuthInfo: remote}
	}
	s.Must(clientcmd.WriteToFile(*config, s.kubeconfig))
	return address, contexts
}

var errSeen = errors.New("the server name is known")

// forward forwards a connection to the server with the name in its ClientHello.
func forward(client net.Conn, servers map[string]string) {
	defer client.Close()
	var hello bytes.Buffer
	name := ""
	_ = tls.Server(readOnly{client, io.TeeReader(client, &hello)}, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		name = info.ServerName
		return nil, errSeen
	}}).Handshake()
	server, err := net.Dial("tcp", servers[name])
	if err != nil {
		return
	}
	defer server.Close()
	var ways sync.WaitGroup
	ways.Go(func() {
		_, _ = io.Copy(server, io.MultiReader(&hello, client))
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
	_ = client.Close()
	ways.Wait()
}

// readOnly is a connection that reads through another reader and discards writes.
type readOnly struct {
	net.Conn
	from io.Reader
}

func (r readOnly) Read(p []byte) (int, error)  { return r.from.Read(p) }
func (r readOnly) Write(p []byte) (int, error) { return len(p), nil }

// Two remotes share an address. Every command tells them apart by the TLS server name, even if
// their kubeconfigs don't contain the clusters' UIDs.
func TestTwoRemotesBehindOneAddress(t *testing.T) {
	for what, stored := range map[string]bool{"with UIDs": true, "without UIDs": false} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			keys := s.main("sjc")
			address, contexts := s.behindOneAddress()
			forget := func(remote string) {
				if !stored {
					s.store(remote, s.altered(remote, func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.Extensions = nil }))
				}
			}
			for _, remote := range []string{"dfw", "iad"} {
				s.exits(0, "join", remote, "--remote-context", contexts[remote], "--server", address, "--yes", "--wait", "0")
				forget(remote)
			}
			s.says(s.exits(2, "join", "dallas", "--remote-context", contexts["dfw"], "--server", address, "--yes").Stderr, "already stored as dfw")
			s.exits(0, "push")
			s.all(keys, "dfw", "iad")
			s.says(s.exits(0, "check", "-o", "short").Stdout, "dfw  no problems", "iad  no problems")
			for _, remote := range []string{"dfw", "iad"} {
				before := s.entry("sjc", remote)
				s.says(s.exits(0, "renew", remote, "--dry-run").Stdout, "with context "+contexts[remote])
				s.says(s.exits(0, "renew", remote).Stdout, remote+": renewed")
				if bytes.Equal(before, s.entry("sjc", remote)) {
					t.Errorf("%s has its old token", remote)
				}
				forget(remote)
			}
			s.exits(0, "promote", "sjc", "--yes")
			s.wipe()
			s.says(s.exits(0, "recover", "--from", "dfw", "--yes").Stdout, "2 Synced")
			s.all(keys, "sjc", "dfw", "iad")

			s.says(s.exits(0, "leave", "dfw", "--yes").Stdout, "Deleted in the remote: RoleBinding fernetcast-sjc")
			_, err := s.cluster("iad").Client().CoreV1().ServiceAccounts(s.NS).Get(s.Ctx, account, metav1.GetOptions{})
			s.Must(err)
			s.says(s.exits(0, "status").Stdout, "1 Synced")
			s.says(s.exits(2, "leave", "iad", "--remote-context", contexts["dfw"], "--yes").Stderr, "is for a different cluster")
		})
	}
}
