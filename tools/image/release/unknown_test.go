package main

import "testing"

// If the vulnerability database is unreachable, the release continues with a warning.
func TestLongVulnerabilitiesUnknown(t *testing.T) {
	long(t)
	r := release{source: copied(t), tools: toolsDir, database: database(t, `[]`)}
	must(t, r.vulnerabilities(t.Context())) // downloads the tool and all modules
	t.Setenv("GOPROXY", "off")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	r.database = ""
	must(t, r.vulnerabilities(t.Context()))
}
