# Two commands matter: `make demo` and `make test`. `make` alone explains all of them.
# One target directory and one profile (release) for everything but what is shipped and measured (dist): each compiles RocksDB once.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/keld-target
KELD = $(CARGO_TARGET_DIR)/release/keld
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo build dist train test check fmt lint docs acceptance bench bench-queries bench-cluster growth peer profile instructions speed fuzz setup clean-state

help:
	@echo 'Keld: one coherent, searchable record per key from overlapping event streams.'
	@echo
	@echo '  make demo         build, then show it: real flights, three searches, a page to open (Ctrl-C ends it)'
	@echo '  make test         everything that CI runs: format, lints, docs, fuzz targets, dependencies, all tests'
	@echo
	@echo '  make build        the binary only'
	@echo '  make dist         the binary as it is shipped and measured: optimised across crates and by profile/, some minutes'
	@echo '  make train        records profile/ anew, when Cargo.lock or the compiler have changed; 20 minutes'
	@echo '  make check        format, lints and docs; no tests'
	@echo '  make fmt          format the code'
	@echo '  make lint         clippy and cargo-deny'
	@echo '  make docs         the API documentation; `make docs ARGS=--open` opens it'
	@echo '  make acceptance   the tests of `make test` at full size (millions of events; an hour or more)'
	@echo '  make bench        throughput and freshness beside a real Kafka: Keld and Kafka Streams + RocksDB + Lucene in turn,'
	@echo '                    three times; `make bench ARGS=--help` lists its options, `make bench ARGS=keld` is Keld alone'
	@echo '  make bench-queries  gets, searches, facets, aggregations over a million records, without and with 5,000 events/s: both in turn'
	@echo '  make peer         the other one alone'
	@echo '  make bench-cluster  several instances: restore, promotion of copies, what scattering and forwarding add (ARGS=--help)'
	@echo '  make growth       what an event costs while the state grows to 50 million records (half an hour; ARGS=--help)'
	@echo '  make profile      where the time goes: a flame graph of a catch-up, or of calm work with ARGS=--fresh'
	@echo '  make instructions how many instructions each step of an event takes (callgrind)'
	@echo '  make speed        events/s that one core decodes, merges and encodes: the workload, each strategy, each format'
	@echo '  make fuzz         tries broken and hostile input on decoders, stored records, merging, expressions, queries and configuration (ARGS=--help)'
	@echo '  make clean-state  forget the demo'"'"'s data (state/demo)'
	@echo
	@echo 'The first build compiles RocksDB: about ten minutes on two cores, once. It goes to'
	@echo '  CARGO_TARGET_DIR = $(CARGO_TARGET_DIR)'
	@echo 'Prerequisites: Rust and a C/C++ toolchain; for tests Java 17+, Maven, Chromium, Python 3.11+'
	@echo 'and Node.js 20+, too. scripts/setup gets or names the rest.'

demo: build
	@echo '== demo: $(KELD) demo $(ARGS)'
	@exec $(KELD) demo $(ARGS)

build: setup
	@[ -x $(KELD) ] || echo '== build: the first one compiles RocksDB and takes about ten minutes on two cores'
	@cargo build --release

dist:
	@scripts/dist

train:
	@scripts/train $(ARGS)

setup:
	@scripts/setup

test:
	@scripts/test $(ARGS)

acceptance:
	@scripts/test --full $(ARGS)

check:
	@scripts/test --only setup,format,clippy,docs

fmt:
	@cargo fmt

lint:
	@scripts/test --only setup,clippy,dependencies

docs: setup
	@RUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps $(ARGS)

bench:
	@scripts/bench $(ARGS)

bench-queries:
	@scripts/bench --queries --no-freshness --events 3200000 --keys 1075000 $(ARGS)

bench-cluster:
	@scripts/setup --tests
	@scripts/measured cluster $(ARGS)

growth:
	@scripts/setup --tests
	@scripts/measured growth $(ARGS)

peer:
	@scripts/peer $(ARGS)

profile:
	@scripts/profile $(ARGS)

instructions:
	@scripts/instructions $(ARGS)

speed:
	@scripts/speed $(ARGS)

fuzz:
	@scripts/fuzz $(ARGS)

clean-state:
	@rm -rf state/demo
