package kube

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makers lists the functions and types that create clients or connections, by package. typed lists
// the functions that create client-go's typed clients.
var (
	makers = map[string][]string{
		"net/http":                   {"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"},
		"net":                        {"Dial", "DialTCP", "DialTimeout", "Dialer"},
		"crypto/tls":                 {"Dial", "DialWithDialer", "Dialer", "Client"},
		"k8s.io/client-go/rest":      {"HTTPClientFor", "TransportFor", "RESTClientFor", "RESTClientForConfigAndClient", "UnversionedRESTClientFor", "UnversionedRESTClientForConfigAndClient", "HTTPWrappersForConfig"},
		"k8s.io/client-go/transport": {"New"},
	}
	typed = []string{"New", "NewForConfig", "NewForConfigOrDie", "NewForConfigAndClient", "NewDiscoveryClientForConfig", "NewDiscoveryClientForConfigAndClient"}
)

// Only this package creates clients, so the guard checks every response. Package setup creates
// client-go's typed clients from them.
func TestEveryClientIsGuarded(t *testing.T) {
	const root = "../.."
	allowed := map[string][]string{
		"internal/kube/client.go": {"Client", "HTTPClientFor", "NewForConfigAndClient", "Transport"},
		"internal/kube/pace.go":   {"Dialer"},
		"internal/setup/apis.go":  {"NewForConfigAndClient"},
	}
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "e2e" || name == "tools" || strings.HasPrefix(name, ".") && name != "."):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		used, err := clientMakers(path)
		for _, symbol := range used {
			found[name+" "+symbol] = true
			if !slices.Contains(allowed[filepath.ToSlash(name)], symbol) {
				t.Errorf("%s uses %s: make clients with kube.New, which guards them", name, symbol)
			}
		}
		return err
	})
	if err != nil || !found["internal/setup/apis.go NewForConfigAndClient"] || !found["internal/kube/pace.go Dialer"] {
		t.Errorf("the search found too few functions that make clients: %v, found %v", err, found)
	}
}

// clientMakers returns the symbols in a file that make clients.
func clientMakers(path string) (used []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	imports := map[string]string{}
	for _, i := range file.Imports {
		imported := strings.Trim(i.Path.Value, `"`)
		alias := imported[strings.LastIndex(imported, "/")+1:]
		if i.Name != nil {
			alias = i.Name.Name
		}
		imports[alias] = imported
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		from, symbol := imports[of.Name], selector.Sel.Name
		clients := slices.ContainsFunc([]string{"kubernetes", "dynamic", "discovery", "metadata"}, func(p string) bool {
			return strings.HasPrefix(from, "k8s.io/client-go/"+p)
		})
		if slices.Contains(makers[from], symbol) || clients && slices.Contains(typed, symbol) {
			used = append(used, symbol)
		}
		return true
	})
	return used, nil
}
