// Package kube is a client for one cluster's Secrets that does not trust the server. It bounds
// every response before decoding it, and accepts a response only if an API server sent it for the
// requested Secret. See "Answers" in docs/design.md.
//
// It makes no decisions about keys, keeps no Secret in memory, and never retries a write.
package kube
