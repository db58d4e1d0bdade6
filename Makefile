# Purepool. `make` lists the targets.
#
# deps runs before everything else and installs what is missing (scripts/deps).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The servers' binaries stand in sbin, which a plain user's PATH lacks.
export PATH := $(CURDIR)/.tools/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin

GO       ?= go
FUZZTIME ?= 30s
# How long `make soak` runs.
DURATION ?= 30m
# Which benchmarks `make bench` runs, and how.
BENCH      ?= .
BENCHTIME  ?= 1s
BENCHCOUNT ?= 1
# Which architectures `make release` builds for; empty: amd64 and arm64.
ARCH ?=
# Arguments of `make run` for the demo, for example ARGS="--dir /tmp/pool".
ARGS ?=

# Whole-system tests (processes, broker and database outages, load) live under
# test/ and run without the race detector: they kill and wait, and the detector
# would slow the very thing they look at. Two at a time, because they mostly wait.
# Those of whole servers have a target of their own: they need root.
SYSTEM_PKGS = $(shell $(GO) list ./... | grep '^purepool/test/' | grep -v '/hosts$$')
UNIT_PKGS   = $(shell $(GO) list ./... | grep -v '^purepool/test/')

##@ Use
.PHONY: run
run: deps-run ## Start the demo pool: nothing to configure, Ctrl-C stops it (ARGS="--help")
	CGO_ENABLED=0 $(GO) build -o bin/purepool ./cmd/purepool
	exec bin/purepool demo $(ARGS)

.PHONY: demo-full
demo-full: deps-full ## The demo with Prometheus and all alert rules beside it (ARGS="--help")
	CGO_ENABLED=0 $(GO) build -o bin/purepool ./cmd/purepool
	exec bin/purepool demo --prometheus $(ARGS)

.PHONY: build
build: ## Build bin/purepool, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/purepool ./cmd/purepool

.PHONY: release
release: ## Build releases for linux amd64 and arm64 with checksums, in dist/ (ARCH="amd64")
	scripts/release $(ARCH)

##@ Check
.PHONY: test
test: deps-test ## Format, vet, staticcheck, and all tests on real servers
	@echo '== gofumpt'
	@files=$$(gofumpt -l .); [ -z "$$files" ] || { echo "not formatted (run make fmt):"; echo "$$files"; exit 1; }
	@echo '== go vet'
	@$(GO) vet ./...
	@echo '== staticcheck'
	@staticcheck ./...
	@echo '== unit tests, with the race detector'
	@$(GO) test -race -vet=off -p 2 -timeout 10m $(UNIT_PKGS)
	@echo '== system tests'
	@$(GO) build -o bin/test/purepool ./cmd/purepool # once, for all of them
	@PUREPOOL_BINARY=$(CURDIR)/bin/test/purepool $(GO) test -vet=off -p 2 -timeout 12m $(SYSTEM_PKGS)

.PHONY: test-hosts
test-hosts: deps-test ## Three servers as containers, taken away one by one (as root, about three minutes)
	@$(GO) test -count 1 -timeout 15m ./test/hosts

# What test-hosts does in short, at full length: servers off and lines cut for a
# minute each, with either broker; releases built from nothing.
LONG_AWAY ?= 1m
.PHONY: test-long
test-long: deps-test ## The same outages for a minute each, and releases from nothing (about 15 minutes, as root)
	@echo '== servers'
	@$(GO) test -count 1 -v -timeout 30m ./test/hosts -away $(LONG_AWAY) -long
	@echo '== releases'
	@$(GO) test -count 1 -v -timeout 15m -run Release ./deploy -long

.PHONY: lint
lint: deps-lint ## golangci-lint and the shape of go.mod (its first run builds the tool: some minutes)
	@echo '== go mod verify'
	@$(GO) mod verify
	@echo '== go mod tidy'
	@$(GO) mod tidy -diff
	@echo '== golangci-lint'
	@golangci-lint run ./...

.PHONY: fmt
fmt: deps-lint-fmt ## Format every Go file
	gofumpt -w .

.PHONY: soak
soak: deps-test ## The whole program for half an hour, with outages; counts every share (DURATION=30m)
	$(GO) test -v -count=1 -timeout 0 -run '^TestSoak$$' ./test/soak -soak.duration=$(DURATION)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME each (FUZZTIME=30s)
	scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: deps-bench ## Run the benchmarks; the text is kept in bench/ (BENCH=regexp BENCHTIME=1s BENCHCOUNT=1)
	@mkdir -p bench
	@out=bench/$$(date -u +%Y%m%dT%H%M%SZ)-$$(git rev-parse --short HEAD 2>/dev/null || echo tree).txt; \
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -count $(BENCHCOUNT) -benchmem -p 1 -timeout 60m ./... \
		| grep -v -e '^PASS$$' -e 'no test files' | tee "$$out"; \
	echo "kept in $$out; compare two such files with: .tools/bin/benchstat OLD NEW"

##@ Housekeeping
.PHONY: docs
docs: ## Write docs/CONFIGURATION.md anew from the code
	$(GO) run ./cmd/purepool config reference > docs/CONFIGURATION.md.new
	mv docs/CONFIGURATION.md.new docs/CONFIGURATION.md

.PHONY: dashboards
dashboards: ## Write grafana/dashboards anew from the code
	$(GO) run ./grafana/generate grafana/dashboards

.PHONY: deps
deps: ## Install what run, test, lint and bench need and this machine lacks
	@scripts/deps run test lint bench

# One internal target a level, so that `make run` installs no broker.
.PHONY: deps-run deps-full deps-test deps-lint deps-bench deps-lint-fmt
deps-run:
	@scripts/deps run
deps-full:
	@scripts/deps full
deps-test:
	@scripts/deps run test
deps-lint:
	@scripts/deps lint
deps-lint-fmt:
	@scripts/deps fmt
deps-bench:
	@scripts/deps bench

.PHONY: clean
clean: ## Remove what was built here, the tools included
	rm -rf bin dist .tools

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
