# The table of contents of this repository: `make help` lists what it can do. Longer recipes are scripts of their own
# under scripts/; the tools they use are pinned in scripts/tools and built into .tools/bin when first needed.

.DEFAULT_GOAL := help
.PHONY: help build start test lint generate proto-image bench bench-authz profile gobench soak fuzz dist vuln clean

FUZZTIME ?= 60s
MODULES  := scripts/modules

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/platformd, and the sample modules into modules/NAME
	@scripts/build

start: build ## Build, then run the platform in the foreground
	@exec bin/platformd start

test: .tools/test.stamp ## Run every test with the race detector, and say which backends they used
	@scripts/test

lint: .tools/lint.stamp .tools/buf.stamp ## Check style, import floors, the protocol's compatibility, each Go module alone
	.tools/bin/buf lint
	.tools/bin/buf format --diff --exit-code
	.tools/bin/buf breaking --against proto/image.binpb
	.tools/bin/golangci-lint run $$($(MODULES) patterns)
	scripts/check-floors
	scripts/check-modules

generate: .tools/buf.stamp .tools/protoc.stamp ## Regenerate what is generated: protobuf code, JSON Schemas
	scripts/generate

proto-image: .tools/buf.stamp ## Accept today's protocol as the one `make lint` compares with (after a release)
	.tools/bin/buf build --exclude-source-info -o proto/image.binpb

bench: export PGO = 1
bench: build ## Compare with gin, nginx, HAProxy and others; half an hour (ARGS="--quick --only gin,link"; ARGS=--help)
	@cd scripts/bench && CGO_ENABLED=0 GOWORK=off go build -trimpath -buildvcs=false -o "$(CURDIR)/bin/.stage/bench" .
	@exec bin/.stage/bench $(ARGS)

bench-authz: ## Compare a check of the authorizer with casbin's, on the same 100,000 assignments (ROUNDS=3, BENCHTIME=1s)
	@scripts/bench-authz

profile: ## Record, for releases, where the daemon spends its time under the benchmark's loads; ten minutes (DURATION=10s)
	@scripts/profile

gobench: ## Run the Go benchmarks of the workspace (BENCH=regexp, BENCHTIME=1s, COUNT=1)
	@scripts/gobench

soak: ## Prove the guarantees at full counts, with a table (SUITE=supervision|gateway|data|access|events|services|install|all, FRESH=1)
	@scripts/soak

fuzz: ## Run every fuzz target for FUZZTIME (default 60s) each
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

dist: ## Make reproducible archives of a release in dist/
	@scripts/dist

vuln: .tools/test.stamp ## Look for known vulnerabilities in what we depend on (needs the network)
	@for dir in $$($(MODULES) dirs); do echo "# $$dir"; (cd "$$dir" && "$(CURDIR)/.tools/bin/govulncheck" ./...) || exit 1; done

clean: ## Remove what build, dist and soak made; keeps data/, .tools/ and modules of your own
	rm -rf bin dist .soak
	for source in plugins/*/module.yaml; do rm -rf "modules/$$(basename "$$(dirname "$$source")")"; done

# One stamp per tools module: its binaries are built again when its pins change.
.tools/%.stamp: scripts/tools/%/go.mod scripts/tools/%/go.sum
	@mkdir -p .tools/bin
	cd scripts/tools/$* && GOWORK=off GOBIN="$(CURDIR)/.tools/bin" go install tool
	@touch $@
