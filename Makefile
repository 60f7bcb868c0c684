# Main targets: demo, test, image, and release. test consists of check and e2e. test-all adds the
# long tests. mutate, soak, bench, and clean are separate.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test

# Additional flags for every go test, for example T=-v or T='-run Drift'.
T ?=

# Duration of the soak test and of each fuzz test in make soak.
SOAK ?= 10m
FUZZ ?= 5m

# make demo also compiles the standard library without cgo, so nothing is compiled twice. Tests with
# the race detector override this, because it needs cgo.
export CGO_ENABLED := 0

# Directory of the test results, from which the slowest tests are listed.
RESULTS := $(CURDIR)/e2e/.assets/results
gotestsum = $$(cd $(CURDIR)/tools; go tool -n gotest.tools/gotestsum)
slowest = cat $(RESULTS)/*.json | "$(gotestsum)" tool slowest --num 10

# For make image and make release: the version of the program, which is also the image's tag. If
# PUSH is set to registry/name, make image also pushes the image there.
VERSION ?= dev
PUSH ?=

# File with the minisign secret key that signs a release.
SIGN ?=

.PHONY: demo recording image release test test-all check fmt vet staticcheck tidy unit e2e long mutate soak bench clean

# Runs four regions on this machine, rotates the keys every few seconds, and shows the states. Stop
# it with Ctrl-C, or set DEMO_SECONDS=30. With -m, the demo runs as a foreground job, so that Ctrl-C
# does not stop make, too. Without the exit, bash would replace itself with the demo.
demo:
	@echo "Building: this takes minutes the first time, and seconds later."
	@cd e2e; mkdir -p .assets; go build -o .assets/demo ./demo; set -m; .assets/demo; exit

# Records the demo as docs/demo.svg. It needs a terminal and termtosvg, a Debian package. With
# only Go in the PATH, the demo starts no Keystone and no node, which would take minutes.
recording:
	@cd e2e; mkdir -p .assets; go build -o .assets/demo ./demo; \
	DEMO_SECONDS=14 PATH="$$(go env GOROOT)/bin" "$$(command -v termtosvg)" ../docs/demo.svg -c .assets/demo -g 124x20 -m 200 -M 3000 -D 4000 -t gjm8

# Builds the container image for linux/amd64 and linux/arm64 without a container engine: an OCI
# layout (dist/image) and an archive of it. The same VERSION gives the same bytes.
image:
	@mkdir -p dist; cd tools/image; go build -o ../../dist/.image .; cd ../..; dist/.image -version '$(VERSION)' -push '$(PUSH)'

# Builds a release in dist/release: archives and SBOMs for linux and darwin on amd64 and arm64, the
# image, a krew manifest, release notes, and checksums. SIGN=FILE also signs the checksums. The same
# VERSION gives the same bytes. It fails if a known vulnerability affects the program.
release:
	@[[ '$(VERSION)' == v[0-9]* ]] || { echo "make release VERSION=v1.2.3: a version is needed"; exit 1; }
	@mkdir -p dist; cd tools/image; go build -o ../../dist/.release ./release; go build -o ../../dist/.image .; cd ../..; \
	dist/.image -version '$(VERSION)'; dist/.release -version '$(VERSION)' -image 'dist/fernetcast-$(VERSION).oci.tar' -key '$(SIGN)'

# Required for every change: the checks and a short end-to-end run, without the test cache.
test: COUNT := -count=1
test: check e2e
	@echo "== the slowest ten tests"; $(slowest)

# Adds the long tests. If test is in the same make call, as in .ci/run, nothing runs twice.
test-all: test long
	@echo "== the slowest ten tests of all"; $(slowest)

# The part that needs no control planes. Unchanged packages are not tested again.
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

# Tests the program and the manifests on real control planes. The tests mostly wait, so six run at
# once. Tests that measure delays run first, together with other tests at a lower priority. The rest
# follows, because the Keystone tests use both cores. The manifest tests include all of kubectl and
# run little concurrently. Without the race detector, kubectl is compiled only once.
end_to_end = "$(gotestsum)" --format testname --jsonfile $(RESULTS)/$(1).json -- -count=1 -timeout 40m $(2)

# Runs the command $(2), which measures delays, and the shell function beside at the same time with
# niceness $(1). beside runs as a separate job, which Ctrl-C also stops.
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

# Runs the tests that -short skips, which are named TestLong*, including those in e2e/node.
long:
	@echo "== long tests"
	@mkdir -p $(RESULTS); cd e2e; export KUBEBUILDER_ASSETS=$$(go run ./testenv/prepare node); \
	packages() { (cd $$1; grep -l '^func TestLong' $$(git ls-files '*_test.go') | xargs -n 1 dirname | sort -u | sed 's,^,./,'); }; \
	beside() { \
	(cd ..; CGO_ENABLED=1 $(call end_to_end,unit-long,-race -run '^TestLong' $(T) $$(packages . | grep -v -e ^./e2e -e ^./tools))); \
	(cd ../tools/image; $(call end_to_end,image-long,-run '^TestLong' $(T) $$(packages .))); }; \
	$(call with_beside,19,{ $(call end_to_end,node-long,-p 1 -run '^TestLong' $(T) ./node) && \
	CGO_ENABLED=1 $(call end_to_end,regions-long,-race -p 1 -parallel 6 -run '^TestLong' $(T) ./regions ./soak); }); \
	CGO_ENABLED=1 $(call end_to_end,e2e-long,-race -p 2 -parallel 6 -run '^TestLong' $(T) $$(packages . | grep -v -e ^./node -e ^./bench -e ^./fleet -e ^./regions -e ^./soak))

# Changes one operator at a time in the pure code, and prints the changes that no unit test detects.
# Takes 15 minutes. To run a part: make mutate T='-only internal/view'. Equivalent changes are listed
# in tools/mutate/equivalent.go.
mutate:
	@mkdir -p e2e/.assets; cd tools; go build -o ../e2e/.assets/mutate ./mutate; cd ..; e2e/.assets/mutate $(T)

# Runs every fuzz test, many more cases of the model test, and the soak test. Takes 45 minutes. make
# test has short forms: the corpus of the fuzz tests, fewer model cases, and 30 seconds of soak. Fuzz
# findings are added to testdata/fuzz, which make test then checks.
soak:
	@for package in $$(go list ./...); do \
	list=$$(go test -list '^Fuzz' $$package); for test in $$(grep '^Fuzz' <<<"$$list" || true); do (set -x; \
	go test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZ) -fuzzminimizetime 10x -parallel 1 -timeout 60m $$package); done; done
	go test -count=1 -timeout 60m $(T) ./internal/model -rapid.checks=20000
	@cd e2e; assets=$$(go run ./testenv/prepare); set -x; \
	KUBEBUILDER_ASSETS=$$assets CGO_ENABLED=1 go test -race -count=1 -v -timeout 120m $(T) ./soak -length $(SOAK)

# Measures performance with up to 6,000 remotes. Takes about 15 minutes on an idle machine. Updates
# the tables in docs/figures.md and the plot docs/performance.svg. BASE is the commit to compare with.
BASE ?= HEAD~1
bench:
	@base=$$(mktemp -d); trap 'rm -rf "$$base"' EXIT; git archive $(BASE) | tar -x -C "$$base"; (cd "$$base"; go build -o base .); \
	cd e2e; assets=$$(go run ./testenv/prepare); set -x; \
	BASE_PROGRAM=$$base/base KUBEBUILDER_ASSETS=$$assets go test -p 1 -count=1 -v -timeout 30m $(T) ./bench ./fleet

# Keeps the Go build cache. `go clean -cache` clears it.
clean:
	rm -rf e2e/.assets dist
