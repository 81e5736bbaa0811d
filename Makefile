# `make help` lists the targets. `make setup`, which the others call, installs missing programs.

CACHE := $(or $(MERIDIAN_CACHE),$(HOME)/.cache/meridian)
export MERIDIAN_CACHE := $(CACHE)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CACHE)/target)
RELEASE := $(CARGO_TARGET_DIR)/release

.DEFAULT_GOAL := help
.PHONY: help setup build demo test check fix generate unit sim test-processes test-e2e test-bed bed-up bed-down deny

help: ## This list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: ## Install missing programs by apt, as root or with sudo; otherwise print their names
	@scripts/setup
	@scripts/own-cache

build: setup ## Release binaries of node and command line
	cargo build --release --locked -p meridian-node -p meridian-cli

# Cargo unifies the features of all packages of a call: another set of packages has other features, and recompiles shared
# dependencies. All calls of the suites therefore name the whole workspace. SIM narrows a call to the targets of meridian-sim,
# with the features of the workspace; the four crates into which it injects bugs, and those above them, are compiled a second
# time. No call builds binaries together with meridian-sim, since they would contain the injected bugs.
OURS := --locked --workspace --exclude meridian-sim
SIM := --locked --workspace --test simulation --test parts

.PHONY: build-all
build-all: setup
	cargo build $(OURS) --bins --tests

# `TRANSPORT=kafka` uses two real brokers and MirrorMaker 2.
TRANSPORT ?= direct
THROUGH := $(if $(filter kafka,$(TRANSPORT)),scripts/with-kafka)
$(if $(filter-out direct kafka,$(TRANSPORT)),$(error TRANSPORT must be direct or kafka (got $(TRANSPORT))))

demo: build ## Two regions on this machine: real words, a cut link, a killed leader (N=, DATA=file.npy, TRANSPORT=kafka)
	@scripts/fetch-data.sh
	$(THROUGH) $(RELEASE)/meridian demo $(if $(N),--n $(N)) $(if $(DATA),--data $(DATA))

.PHONY: bench
bench: build ## The search engine compared with other engines, into docs/benchmarks; hours (ARGS="--data words --peers hnswlib,meridian-hnsw")
	@bench/peers/run $(RELEASE)/meridian $(ARGS)

.PHONY: bench-filters
bench-filters: build ## Filtered searches compared with qdrant-edge, into docs/benchmarks; 25 minutes (ARGS="--data minilm")
	@bench/peers/run $(RELEASE)/meridian filters $(ARGS)

.PHONY: bench-limits
bench-limits: build ## Times and sizes compared with their limits (ARGS=restart, or another topic of `meridian bench limits`)
	@for topic in $(or $(ARGS),exact-scan restart snapshot overload memory collections); do $(RELEASE)/meridian bench limits $$topic || exit 1; done

.PHONY: bench-regions
bench-regions: build ## Latencies of two regions at 200 writes and 200 searches per second (ARGS="--seconds 60", TRANSPORT=kafka)
	@scripts/fetch-data.sh
	$(THROUGH) $(RELEASE)/meridian bench regions $(ARGS)

# Suites run one after the other, each in its own `make`, so that their times can be measured.
test: ## All suites of CI, with the time of each (E2E=no skips the one that needs root)
	@MAKE="$(MAKE)" scripts/suites deny check sim-tests build-all test-processes test-kafka test-e2e

unit: setup ## Unit, property, snapshot and format tests, and the tidy test
	cargo test $(OURS)

.PHONY: sim-tests
sim-tests: setup ## 300 seeds of the simulation, and its injected bugs
	cargo test $(SIM)

sim: setup ## More seeds of the simulation: SEEDS=1..1000, or one: SEEDS=17
	SEEDS=$(SEEDS) cargo run --locked --release -p meridian-sim

test-processes: build-all ## Real processes: official client, kill -9, SIGSTOP
	@tests/processes/run

.PHONY: test-kafka
test-kafka: build-all ## Real processes through a real broker and MirrorMaker 2, killed under load: TESTS="-k load"
	@tests/kafka_link/run $(TESTS)

.PHONY: test-upgrade
test-upgrade: build-all ## Real processes rolled from the last release to this build, back, and forward again: TESTS="-k two"
	@tests/upgrade/run $(TESTS)

.PHONY: e2e-preflight
e2e-preflight:
	@tests/e2e/preflight

test-e2e: e2e-preflight build-all ## End to end on a real Kubernetes (root; compiles it on first use): TESTS="-k words", KEEP=1
	@tests/e2e/run $(TESTS)

test-bed: ## The Kubernetes of the test bed itself
	tests/bed/up && tests/bed/check && tests/bed/down

bed-up: ## Start a real Kubernetes in a network namespace
	tests/bed/up

bed-down: ## Stop it
	tests/bed/down

# The feature `libfuzzer` compiles the programs of the fuzz targets; `unit` replays their corpus. `--examples`, of which there are
# none, gives `cargo doc` the features of tests, which clippy has compiled the dependencies for.
check: setup ## Before every commit: format, lints, unit tests, docs; changes nothing
	cargo fmt --check
	cargo clippy $(OURS) --all-targets --features meridian-fuzz/libfuzzer -- -D warnings
	cargo clippy $(SIM) --bin meridian-sim -- -D warnings
	@$(MAKE) --no-print-directory unit
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --lib --bin meridian --bin meridian-operator --examples

.PHONY: check-aarch64
check-aarch64: ## The search engine for AArch64, by cross-compiler and emulator; needs both (ARGS="memory:: snapshot::" for other tests)
	@scripts/check-aarch64 $(ARGS)

fix: ## Format
	cargo fmt

generate: ## Write the generated files
	cargo run --locked -p meridian-xtask -- generate

# `unsafe` exists in `ann` only. Miri reports no AVX, so that the scalar kernels run.
.PHONY: miri
miri: setup ## Rows shared with views, scalar kernels and pages, under Miri (needs nightly Rust with the component miri)
	@if ! cargo +nightly miri --version >/dev/null 2>&1; then \
		echo "NOT RUN: Miri: not installed (rustup toolchain install nightly --component miri)"; \
	else \
		export MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true; \
		cargo +nightly miri test --locked -p meridian-ann --lib -- views_are_read the_definition && \
		cargo +nightly miri test --locked -p meridian-pages --lib; \
	fi

# New inputs are stored in the cache. `fuzz/corpus` holds the seeds and inputs that broke a target.
FUZZ := 0.13.2
.PHONY: fuzz
fuzz: setup ## Every parser for FOR=60 seconds (needs nightly Rust; compiles cargo-fuzz on first use)
	@if ! cargo +nightly --version >/dev/null 2>&1; then \
		echo "NOT RUN: fuzz targets: nightly Rust is not installed (rustup toolchain install nightly)"; exit 0; fi; \
	[ -x $(CACHE)/bin/cargo-fuzz ] || env -u CARGO_TARGET_DIR cargo install --quiet --locked --version $(FUZZ) --root $(CACHE) cargo-fuzz || exit 1; \
	cd fuzz && export PATH=$(CACHE)/bin:$$PATH && targets=$$(cargo +nightly fuzz list) || exit 1; \
	for target in $$targets; do \
		mkdir -p $(CACHE)/corpus/$$target; \
		cargo +nightly fuzz run --features libfuzzer $$target $(CACHE)/corpus/$$target corpus/$$target -- \
			-max_total_time=$(or $(FOR),60) -rss_limit_mb=4096 -timeout=10 || exit 1; \
	done

DENY := 0.20.2
deny: setup ## Licenses, sources, wildcards and advisories of the dependencies (compiles cargo-deny on first use)
	@[ -x $(CACHE)/bin/cargo-deny ] || env -u CARGO_TARGET_DIR cargo install --quiet --locked --version $(DENY) --root $(CACHE) cargo-deny
	@PATH=$(CACHE)/bin:$$PATH scripts/deny

.PHONY: set-version
set-version: ## Set the version of crates, lock file, chart, images and documents: VERSION=0.2.0
	@scripts/set-version $(VERSION)
