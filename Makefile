# `make` without a target prints this list. Go is all that is needed.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHTIME   ?= 1s
FUZZTIME    ?= 30s
ADMIN       ?= 127.0.0.1:9464
ORDERS      ?= 240000

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run test check format vet lint fresh race bench generate torture fuzz mutants tools chromium promtool pictures web-vendor clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: ## Build bin/pipectl
	@mkdir -p bin
	$(GO) build -trimpath -o bin/pipectl ./cmd/pipectl

run: build ## Build, and run the quickstart pipeline for two minutes, with its live page
	./bin/pipectl run examples/pipelines/quickstart.yaml --admin $(ADMIN) --set sources.shop.count=$(ORDERS)

test: ## Run all tests
	$(GO) test ./...

check: format vet lint fresh race ## What CI runs: gofmt, vet, staticcheck, generated files, tests under -race

format:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

vet:
	$(GO) vet ./...

lint:
	$(GO) run $(STATICCHECK) ./...

# Generating again must not change what is there.
fresh:
	@sum() { find . -path ./.git -prune -o -path ./bin -prune -o -type f -print0 | sort -z | xargs -0 cksum; }; \
	before=$$(sum); $(GO) generate ./...; after=$$(sum); \
	if ! diff <(echo "$$before") <(echo "$$after"); then echo "generated files were stale; they are fresh now: add them"; exit 1; fi

race:
	$(GO) test -race ./...

bench: ## Run the benchmarks, then whole pipelines against hand-written loops
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...
	$(GO) run ./engine/bench

generate: ## Generate the schema and the reference pages again
	$(GO) generate ./...

torture: ## Run the randomised tests for long, under -race; those of real processes once, without
	PIPECTL_TORTURE=1 $(GO) test -race -count=5 -timeout 2h $$($(GO) list ./... | grep -v /cmd/)
	PIPECTL_TORTURE=1 $(GO) test -count=1 -timeout 2h ./cmd/...

mutants: ## Break the code in every way that is listed; a test must notice each
	PIPECTL_MUTANTS=1 $(GO) test -count=1 -timeout 1h -run '^TestMutants$$' ./...

fuzz: ## Run every fuzz target for FUZZTIME (default 30s)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

tools: chromium promtool ## Install what some tests need beside Go (Debian); without it they are skipped and say so

chromium:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; }

promtool:
	@command -v promtool >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus; }

pictures: ## Take the screenshots of the live page again
	PIPECTL_SCREENSHOTS=1 $(GO) test -count=1 -run TestPictures ./engine/admin/page

web-vendor: ## Copy the libraries of the live page from npm again (exact versions, checksums)
	./engine/admin/page/vendoring/vendor.sh

clean: ## Remove what was built
	rm -rf bin
