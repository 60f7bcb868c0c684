package main

// equivalent lists the changes that no test can detect because they don't change the behavior, each
// with the reason.
var equivalent = map[string]string{
	"internal/view/view.go: v.events--": "only a difference counts, and it can go either way",
}
