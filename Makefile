# `make` without a target prints this list. Go is all that is needed.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHTIME   ?= 1s
FUZZTIME    ?= 30s

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run test check format vet lint fresh race bench generate torture fuzz clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: ## Build bin/pipectl
	@mkdir -p bin
	$(GO) build -trimpath -o bin/pipectl ./cmd/pipectl

run: build ## Build, and run the quickstart pipeline
	./bin/pipectl run examples/pipelines/quickstart.yaml

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

torture: ## Run the randomised tests for long, under -race
	PIPECTL_TORTURE=1 $(GO) test -race -count=5 -timeout 2h ./...

fuzz: ## Run every fuzz target for FUZZTIME (default 30s)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

clean: ## Remove what was built
	rm -rf bin
