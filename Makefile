# For everybody: make demo, make test, make image; make release. check and e2e are the parts of
# test. make test-all adds what takes long. soak, bench, and clean stand apart.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test

# More flags for every go test, for example T=-v or T='-run Drift'.
T ?=

# How long make soak lets the program soak, and each fuzz test run.
SOAK ?= 10m
FUZZ ?= 5m

# The standard library without cgo is the one that make demo compiles, so that nothing
# is compiled twice. The race detector needs cgo.
export CGO_ENABLED := 0

# Where the tests' results go, for the list of the slowest.
RESULTS := $(CURDIR)/e2e/.assets/results
gotestsum = $$(cd $(CURDIR)/tools; go tool -n gotest.tools/gotestsum)
slowest = cat $(RESULTS)/*.json | "$(gotestsum)" tool slowest --num 10

# What make image makes: the program's version and the image's tag; and where to
# push it to, if anywhere, as registry/name.
VERSION ?= dev
PUSH ?=

# A secret key of minisign to sign a release with.
SIGN ?=

.PHONY: demo image release test test-all check fmt vet staticcheck tidy unit e2e long mutate soak bench clean

# Four regions on this machine, a rotation every few seconds, their states on
# screen. Ctrl-C ends it; DEMO_SECONDS=30 has it end by itself. Under -m the demo
# is a job that has the terminal to itself, so that Ctrl-C does not end make as
# well; without the exit, bash would become the demo instead.
demo:
	@echo "Building: some minutes the first time, seconds later."
	@cd e2e; mkdir -p .assets; go build -o .assets/demo ./demo; set -m; .assets/demo; exit

# The container image, without a container engine: an OCI layout, dist/image, and an
# archive of it, for linux on amd64 and arm64. The same VERSION gives the same bytes.
image:
	@mkdir -p dist; cd tools/image; go build -o ../../dist/.image .; cd ../..; dist/.image -version '$(VERSION)' -push '$(PUSH)'

# What a release consists of, in dist/release: archives and SBOMs for linux and darwin on amd64
# and arm64, the image, a krew manifest, the changelog's part, checksums, and, with SIGN=FILE,
# their signature. The same VERSION gives the same bytes. It fails where a known vulnerability
# concerns the program.
release:
	@[[ '$(VERSION)' == v[0-9]* ]] || { echo "make release VERSION=v1.2.3: a version is needed"; exit 1; }
	@mkdir -p dist; cd tools/image; go build -o ../../dist/.release ./release; go build -o ../../dist/.image .; cd ../..; \
	dist/.image -version '$(VERSION)'; dist/.release -version '$(VERSION)' -image 'dist/fernetcast-$(VERSION).oci.tar' -key '$(SIGN)'

# What a change has to pass: the checks, and a short end-to-end run. Nothing is taken
# from the test cache.
test: COUNT := -count=1
test: check e2e
	@echo "== the slowest ten tests"; $(slowest)

# The rest, too. In one call with test, as in .ci/run, nothing runs twice.
test-all: test long
	@echo "== the slowest ten tests of all"; $(slowest)

# The part that needs no control planes. A package that did not change is not tested again.
check: fmt vet staticcheck tidy unit

fmt:
	@echo "== gofmt"
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi

vet:
	@echo "== go vet: the program, e2e"
	@go vet ./...
	@cd e2e; go vet ./...
	@cd tools; go vet ./...; cd image; go vet ./...

staticcheck:
	@echo "== staticcheck: the program, e2e (the first time takes some minutes)"
	@tool=$$(cd tools; go tool -n honnef.co/go/tools/cmd/staticcheck); "$$tool" ./...; cd e2e; "$$tool" ./...; cd ../tools; "$$tool" ./...; cd image; "$$tool" ./...

tidy:
	@echo "== go mod tidy: every go.mod says what is used"
	@for module in . e2e tools tools/image; do (cd $$module; go mod tidy -diff); done

unit:
	@echo "== unit and property tests, with the race detector"
	@mkdir -p $(RESULTS); rm -f $(RESULTS)/*.json
	@CGO_ENABLED=1 "$(gotestsum)" --format pkgname --jsonfile $(RESULTS)/unit.json -- -race -short $(COUNT) -timeout 5m $(T) ./...

# Control planes, manifests, and the real program on them. The tests mostly wait, so six run
# at once. What measures delays runs first, with the other tests beside it at a lower priority;
# then the rest: Keystone's, which use both cores. The manifests' tests have all of kubectl in
# them, and little that runs concurrently: without the race detector kubectl is compiled only once.
end_to_end = "$(gotestsum)" --format testname --jsonfile $(RESULTS)/$(1).json -- -count=1 -timeout 40m $(2)

# Runs tests that measure delays, with those of the function beside at the same time, at
# this niceness: a job of its own, which Ctrl-C ends too.
with_beside = set -m; (renice -n $(1) -p $$BASHPID >/dev/null; beside) & job=$$!; set +m; trap 'kill -- -$$job 2>/dev/null || true' EXIT; \
	failed=0; $(2) || failed=1; wait $$job || failed=1; [ $$failed = 0 ]

e2e:
	@echo "== end to end, on real control planes (the first time takes a few minutes; long tests are in make test-all)"
	@mkdir -p $(RESULTS); cd e2e; export KUBEBUILDER_ASSETS=$$(go run ./testenv/prepare kube-controller-manager); \
	command -v keystone-manage >/dev/null || echo "== no Keystone here: e2e/keystone is left out (with REQUIRE_KEYSTONE=1 it fails)"; \
	command -v prometheus >/dev/null || echo "== no Prometheus here: the tests of metrics, alerts and dashboard are left out (with REQUIRE_PROMETHEUS=1 they fail)"; \
	beside() { \
	(cd ../tools/image; $(call end_to_end,image,-short $(T) ./...)); \
	$(call end_to_end,manifests,-short -parallel 6 $(T) ./manifests); \
	CGO_ENABLED=1 $(call end_to_end,beside,-race -short -p 1 -parallel 6 $(T) ./access ./demo ./files ./monitoring ./testenv/...); }; \
	$(call with_beside,5,CGO_ENABLED=1 $(call end_to_end,regions,-race -short -p 1 -parallel 6 $(T) ./regions ./prometheus ./soak)); \
	CGO_ENABLED=1 $(call end_to_end,e2e,-race -short -p 2 -parallel 6 $(T) $$(go list ./... | grep -vE '/e2e/(access|bench|demo|files|manifests|monitoring|node|prometheus|regions|soak|testenv)'))

# The tests that -short leaves out: those called TestLong. The node is one of them.
long:
	@echo "== long tests"
	@mkdir -p $(RESULTS); cd e2e; export KUBEBUILDER_ASSETS=$$(go run ./testenv/prepare node); \
	packages() { (cd $$1; grep -l '^func TestLong' $$(git ls-files '*_test.go') | xargs -n 1 dirname | sort -u | sed 's,^,./,'); }; \
	beside() { \
	(cd ..; CGO_ENABLED=1 $(call end_to_end,unit-long,-race -run '^TestLong' $(T) $$(packages . | grep -v -e ^./e2e -e ^./tools))); \
	(cd ../tools/image; $(call end_to_end,image-long,-run '^TestLong' $(T) $$(packages .))); }; \
	$(call with_beside,19,{ $(call end_to_end,node-long,-p 1 -run '^TestLong' $(T) ./node) && \
	CGO_ENABLED=1 $(call end_to_end,regions-long,-race -p 1 -parallel 6 -run '^TestLong' $(T) ./regions ./soak); }); \
	CGO_ENABLED=1 $(call end_to_end,e2e-long,-race -p 2 -parallel 6 -run '^TestLong' $(T) $$(packages . | grep -v -e ^./node -e ^./bench -e ^./regions -e ^./soak))

# Changes one operator at a time in the pure code, and prints what no unit test notices: a
# quarter of an hour. A part: make mutate T='-only internal/view'. Changes that make no difference
# are in tools/mutate/equivalent.go.
mutate:
	@mkdir -p e2e/.assets; cd tools; go build -o ../e2e/.assets/mutate ./mutate; cd ..; e2e/.assets/mutate $(T)

# What takes long, three quarters of an hour: every fuzz test, the model of the
# world with many more stories, the soak. Of all three make test has a short
# form: the fuzz tests' corpus, some stories, half a minute. What a fuzz run
# finds is left in testdata/fuzz, for make test from then on.
soak:
	@for package in $$(go list ./...); do \
	list=$$(go test -list '^Fuzz' $$package); for test in $$(grep '^Fuzz' <<<"$$list" || true); do (set -x; \
	go test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZ) -fuzzminimizetime 10x -parallel 1 -timeout 60m $$package); done; done
	go test -count=1 -timeout 60m $(T) ./internal/model -rapid.checks=20000
	@cd e2e; assets=$$(go run ./testenv/prepare); set -x; \
	KUBEBUILDER_ASSETS=$$assets CGO_ENABLED=1 go test -race -count=1 -v -timeout 120m $(T) ./soak -length $(SOAK)

# Measures performance with up to 1,000 remotes: about thirteen minutes on a quiet machine.
# Updates the tables in docs/figures.md and the plot docs/performance.svg.
bench:
	@cd e2e; assets=$$(go run ./testenv/prepare); set -x; KUBEBUILDER_ASSETS=$$assets go test -count=1 -v -timeout 30m $(T) ./bench

# The Go build cache stays: `go clean -cache` empties it.
clean:
	rm -rf e2e/.assets dist
