# What the project is kept with. `make demo` and `make test` need nothing prepared; `make help` lists the rest.

CACHE := $(or $(MERIDIAN_CACHE),$(HOME)/.cache/meridian)
export MERIDIAN_CACHE := $(CACHE)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CACHE)/target)
BIN := $(CARGO_TARGET_DIR)/release

.DEFAULT_GOAL := help
.PHONY: help setup build demo test check fix generate unit sim test-processes test-e2e test-bed bed-up bed-down deny fuzz-build

help: ## This list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: ## Install what the machine lacks (apt as root or with sudo; otherwise say what is missing)
	@scripts/setup
	@scripts/own-cache

build: setup ## Release binaries of node and command line
	cargo build --release --locked -p meridian-node -p meridian-cli

# What the suites run, in the profile of the unit tests. All by one command: each choice of packages is a choice of features, and compiles what they share anew.
# Never together with meridian-sim: cargo unifies features, and the binaries would contain the bugs that it puts in on purpose.
.PHONY: build-all
build-all: setup
	cargo build --locked -p meridian-node -p meridian-operator -p meridian-cli

# `TRANSPORT=kafka`: through two real brokers and MirrorMaker 2.
TRANSPORT ?= direct
THROUGH := $(if $(filter kafka,$(TRANSPORT)),scripts/with-kafka)
$(if $(filter-out direct kafka,$(TRANSPORT)),$(error TRANSPORT is $(TRANSPORT): it can be direct or kafka))

demo: build ## Two regions on this machine: real words, a cut link, a killed leader (N=, DATA=file.npy, TRANSPORT=kafka)
	@scripts/fetch-data.sh
	$(THROUGH) $(BIN)/meridian demo $(if $(N),--n $(N)) $(if $(DATA),--data $(DATA))

.PHONY: bench
bench: build ## The search engine beside its public peers, into docs/benchmarks; hours (ARGS="--data words --peers hnswlib,meridian-hnsw")
	@bench/peers/run $(BIN)/meridian $(ARGS)

.PHONY: bench-filters
bench-filters: build ## Searches with filters beside qdrant-edge, into docs/benchmarks; 25 minutes (ARGS="--data minilm")
	@bench/peers/run $(BIN)/meridian filters $(ARGS)

.PHONY: bench-limits
bench-limits: build ## Times and sizes beside the bounds that they must keep (ARGS=restart, or another topic of `meridian bench limits`)
	@for topic in $(or $(ARGS),exact-scan restart snapshot overload memory collections); do $(BIN)/meridian bench limits $$topic || exit 1; done

.PHONY: bench-regions
bench-regions: build ## Two regions at 200 writes and 200 searches a second: how long everything takes (ARGS="--seconds 60", TRANSPORT=kafka)
	@scripts/fetch-data.sh
	$(THROUGH) $(BIN)/meridian bench regions $(ARGS)

test: setup deny unit sim-tests test-processes test-kafka ## Everything CI runs (E2E=no leaves out what needs root)
	@if [ "$(E2E)" = no ]; then echo "make test: all suites that ran passed. NOT RUN: end to end on Kubernetes: E2E=no"; \
	elif why=$$(tests/e2e/preflight 2>&1); then $(MAKE) --no-print-directory test-e2e && echo "make test: all suites passed"; \
	else echo "make test: all suites that ran passed. NOT RUN: end to end on Kubernetes: $$why"; fi

unit: setup ## Unit, property, snapshot and format tests, and the tidy test
	cargo test --locked --workspace --exclude meridian-sim

.PHONY: sim-tests
sim-tests: setup ## 300 seeds of the simulation, and its injected bugs
	cargo test --locked -p meridian-sim

sim: setup ## More seeds: SEEDS=1..1000, or one of them again: SEEDS=17
	SEEDS=$(SEEDS) cargo run --locked --release -p meridian-sim

test-processes: build-all ## Real processes: official client, kill -9, SIGSTOP
	@tests/processes/run

.PHONY: test-kafka
test-kafka: build-all ## Real processes through a real broker, each killed under load, and MirrorMaker 2: TESTS="-k load"
	@tests/kafka_link/run $(TESTS)

.PHONY: e2e-preflight
e2e-preflight:
	@tests/e2e/preflight

test-e2e: e2e-preflight build-all ## End to end on a real Kubernetes (root; compiles it on first use): TESTS="-k words", KEEP=1
	@tests/e2e/run $(TESTS)

test-bed: ## The real Kubernetes and Kafka of the test bed, checked by themselves
	tests/bed/up && tests/bed/check && tests/bed/down

bed-up: ## A real Kubernetes in a network namespace of its own
	tests/bed/up

bed-down: ## Its end
	tests/bed/down

check: setup ## Before every commit: format, lints, unit tests, docs; changes nothing
	cargo fmt --check
	cargo clippy --locked --workspace --exclude meridian-sim --all-targets -- -D warnings
	cargo clippy --locked -p meridian-sim --all-targets -- -D warnings
	cargo test --locked --workspace --exclude meridian-sim
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --exclude meridian-sim --no-deps
	RUSTDOCFLAGS="-D warnings" cargo doc --locked -p meridian-sim --no-deps

.PHONY: check-aarch64
check-aarch64: ## The search engine for AArch64, by cross-compiler and emulator; needs both (ARGS="memory:: snapshot::" for other tests)
	@scripts/check-aarch64 $(ARGS)

fix: ## Format
	cargo fmt

generate: ## Write the generated files
	cargo run --locked -p meridian-xtask -- generate

fuzz-build: setup ## Whether the fuzz targets build, with any compiler
	cd fuzz && cargo check --locked

FUZZ := 0.13.2
.PHONY: miri
miri: setup ## What the engine reads while it writes, under Miri (needs nightly Rust with the component miri)
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked -p meridian-ann --lib views_are_read

.PHONY: fuzz
fuzz: setup ## Every parser for FOR=60 seconds (needs nightly Rust; compiles cargo-fuzz on first use)
	@[ -x $(CACHE)/bin/cargo-fuzz ] || env -u CARGO_TARGET_DIR cargo install --quiet --locked --version $(FUZZ) --root $(CACHE) cargo-fuzz
	cd fuzz && export PATH=$(CACHE)/bin:$$PATH && for target in $$(cargo +nightly fuzz list); do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(or $(FOR),60) -rss_limit_mb=4096 -timeout=10 || exit 1; done

DENY := 0.20.2
deny: setup ## Licenses, sources, wildcards and advisories of the dependencies (compiles cargo-deny on first use)
	@[ -x $(CACHE)/bin/cargo-deny ] || env -u CARGO_TARGET_DIR cargo install --quiet --locked --version $(DENY) --root $(CACHE) cargo-deny
	@PATH=$(CACHE)/bin:$$PATH scripts/deny
