# Everything a person or CI does with this repository. `make` prints the targets.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# The tools are pinned in a module of their own; go builds them on first use
# (the linter takes some minutes, once) and keeps them in its cache.
TOOL := go tool -modfile=infra/tools/go.mod

COMMANDS := gateway controlplane stampctl loadtest

# One test binary may take this long. The whole run is bound by the machine.
TEST_TIMEOUT ?= 15m
# What `make test` runs.
TEST_PACKAGES ?= ./...
# How long `make fuzz` spends on each fuzz function.
FUZZ_TIME ?= 20s
# What `make bench` runs, and where.
BENCH ?= .
BENCH_PACKAGES ?= ./...
# Flags for `stampctl dev`, for example: make dev ARGS=--tls
ARGS ?=

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the commands into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o bin/ $(addprefix ./cmd/,$(COMMANDS))

.PHONY: dev
dev: build ## Start the whole stack on this machine (ARGS go to stampctl dev)
	bin/stampctl dev $(ARGS)

# The scorecard lets time-outs pass that a busy machine reaches by itself, so
# nothing runs beside it.
ALONE := ./loadtest/scorecard

.PHONY: test
test: ## Run every test with the race detector
	@all="$$(go list $(TEST_PACKAGES))" && alone="$$(go list $(ALONE))" || exit 1; \
	rest="$$(grep -vxF "$$alone" <<<"$$all")"; \
	run() { echo "go test -race -timeout $(TEST_TIMEOUT) ($$# packages)"; go test -race -timeout $(TEST_TIMEOUT) "$$@"; }; \
	if [ -n "$$rest" ]; then run $$rest || exit 1; fi; \
	if [ "$$rest" != "$$all" ]; then run $$alone; fi

.PHONY: check
check: fmt vet fix lint imports deadcode infra-check test sdk-test vuln ## All that CI runs, cheapest first

.PHONY: fmt
fmt: ## Fail if a file is not formatted
	@unformatted="$$($(TOOL) gofumpt -l .)"; \
	if [ -n "$$unformatted" ]; then printf 'not formatted (gofumpt -w FILE):\n%s\n' "$$unformatted" >&2; exit 1; fi

.PHONY: vet
vet: ## Run go vet
	go vet ./...

.PHONY: fix
fix: ## Fail if go fix has something to modernise
	go fix -diff ./...

.PHONY: lint
lint: ## Run the linters that .golangci.yml names
	$(TOOL) golangci-lint run --allow-parallel-runners ./...

.PHONY: imports
imports: ## Check who may import what, and the other rules of the repository
	go test -count=1 ./infra/archtest

.PHONY: deadcode
deadcode: ## Fail if a function is there that no command reaches
	@dead="$$($(TOOL) deadcode -filter '^github.com/stampgate/stampgate/(geo|gateway|controlplane|stamp|cmd|loadtest|infra/devstack)' ./cmd/...)" || exit 1; \
	dead="$$(grep -vf <(grep -v '^#' infra/tools/unreached.txt) <<<"$$dead")"; \
	if [ -n "$$dead" ]; then printf 'no command reaches these; delete them, or say in infra/tools/unreached.txt why not:\n%s\n' "$$dead" >&2; exit 1; fi

# What infra-check runs: the parts of infra that stand for Azure.
INFRA_TESTS := ./infra/check ./infra/terraform/... ./infra/prometheus ./infra/systemd ./infra/image \
	./infra/compose ./infra/helm ./infra/boundarytest
# They run other programs, so the race detector has nothing to find in them: a
# whole check runs them once.
check: TEST_PACKAGES = $$(go list ./... | grep -vxFf <(go list $(INFRA_TESTS)))

.PHONY: infra-check
infra-check: ## Check Terraform, alerts, units, image, chart and the example boundary, without Azure
	infra/check/setup
	@for tool in azurermstub composecheck k8sschema; do (cd infra/tools/$$tool && go vet ./...) || exit 1; done
	go test -count=1 -timeout $(TEST_TIMEOUT) $(INFRA_TESTS)

.PHONY: infra-validate
infra-validate: ## Check Terraform with the real Azure provider, for releases (15 min to build it, once)
	infra/check/validate

.PHONY: release
release: ## Build a release into dist/ (VERSION=v1.2.3)
	infra/release/build "$(VERSION)" dist

.PHONY: sdk-test
sdk-test: build ## Run the official SDKs against the stack
	infra/sdktest/run

.PHONY: vuln
vuln: ## Look for known vulnerabilities; skipped, saying so, without the database
	@out="$$($(TOOL) govulncheck ./... 2>&1)"; code=$$?; printf '%s\n' "$$out"; \
	if [ $$code -eq 0 ]; then exit 0; fi; \
	if [ $$code -ne 3 ] && grep -qE 'vuln\.go\.dev|no such host|dial tcp|connection refused|proxyconnect|i/o timeout' <<<"$$out"; then \
		echo 'SKIPPED vuln: the vulnerability database cannot be reached from here'; exit 0; fi; \
	exit $$code

.PHONY: bench
bench: ## Run the benchmarks (BENCH=name BENCH_PACKAGES=./gateway/...)
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(BENCH_PACKAGES)

.PHONY: scorecard
scorecard: build ## Measure what each fault of a backend costs clients, into loadtest/README.md and README.md (5 min)
	bin/loadtest scorecard --write loadtest/README.md --write-few README.md

.PHONY: convergence
convergence: ## Simulate how gossip spreads, into stamp/membership/CONVERGENCE.md (some minutes)
	go test -count=1 -timeout 60m -run '^TestConvergence$$' ./stamp/membership -update

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZ_TIME each; their seeds run with every test
	@set -euo pipefail; \
	grep -rnE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' cmd controlplane gateway geo infra loadtest stamp \
	| sed -E 's/^(.*)\/[^\/]+:[0-9]+:func (Fuzz[A-Za-z0-9_]+)\(.*/\1 \2/' \
	| while read -r folder name; do \
		echo "== $$folder $$name"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ_TIME) "./$$folder" </dev/null; \
	done

.PHONY: clean
clean: ## Remove what was built and the development stack's state
	rm -rf bin dist .dev .cache
