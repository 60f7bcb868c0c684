// Package kube is a client for one cluster's Secrets that does not trust the
// server. Whatever the server sends is bounded before it is decoded, and an
// answer is believed only where an API server gave it for the very Secret that
// was asked for; see "Answers" in docs/design.md.
//
// It decides nothing about keys, keeps no state of a Secret, and never retries
// a write.
package kube
