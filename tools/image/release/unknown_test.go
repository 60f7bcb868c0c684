package main

import "testing"

// Without the database the release continues, and warns.
func TestLongVulnerabilitiesUnknown(t *testing.T) {
	long(t)
	r := release{source: copied(t), tools: toolsDir, database: database(t, `[]`)}
	must(t, r.vulnerabilities(t.Context())) // has the tool and all modules at hand
	t.Setenv("GOPROXY", "off")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	r.database = ""
	must(t, r.vulnerabilities(t.Context()))
}
