# Everything a fresh clone needs: Python 3.11 or later, a Rust toolchain, make. The rest goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(shell find rust -name '*.rs') Cargo.toml Cargo.lock pyproject.toml

.PHONY: demo test test-rust test-python test-services test-kafka torture soak conformance theory model lint typecheck simulate
.PHONY: bench bench-delivery bench-rules bench-pools bench-peers bench-transports instructions instructions-baseline
.PHONY: fuzz wheel clean lock

## demo: route and deliver the 2,000 messages of examples/hub, with a destination that fails and recovers
demo: .venv/built
	$(BIN)/python examples/hub/generate.py demo-output/messages.ndjson
	$(BIN)/turnout run examples/hub/router.yaml --app examples/hub/app.py --input demo-output/messages.ndjson

## simulate: what each policy does to the push providers of examples/hub when one of them is slow; ARGS=--plot x.png
simulate: .venv/built
	$(BIN)/turnout simulate examples/hub/router.yaml --pool push --policy all --scenario slow $(ARGS)

## test: every test, Rust and Python
test: test-rust test-python

test-rust:
	cargo test --locked --quiet

## theory: the long runs of the simulation against queueing theory; 1 GB, about half a minute
theory:
	cargo test --locked --release --quiet --test simulation -- --ignored --nocapture

test-python: .venv/built
	$(BIN)/pytest -q

## test-services: installs the servers that the tests of transports start, by apt on Debian
test-services:
	PATH="$$PATH:/usr/sbin"; command -v redis-server && command -v nats-server && command -v rabbitmq-server && \
		command -v mosquitto || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
		redis-server nats-server rabbitmq-server mosquitto; }

## test-kafka: the tests on Kafka itself, in KRaft mode on a JVM: its jars come from Maven Central into target/kafka
test-kafka: .venv/built target/kafka/fetched
	$(BIN)/pytest -q tests/test_transports_kafka.py tests/test_sources_kafka.py

target/kafka/fetched: tests/kafka/pom.xml
	rm -rf target/kafka
	mvn --quiet --batch-mode --file tests/kafka/pom.xml dependency:copy-dependencies \
		-DoutputDirectory=$(CURDIR)/target/kafka
	touch $@

## torture: nothing accepted is lost in 1,000 kills of a process with an outbox, by the logs of others; 300 damaged files and logs
torture: .venv/built
	TURNOUT_KILLS=1000 TURNOUT_DAMAGES=400 $(BIN)/pytest -q tests/test_outbox_kills.py tests/test_outbox_damage.py

## bench-delivery: messages a second through dispatch and accept, with and without the outbox
bench-delivery: .venv/built
	$(BIN)/python benches/deliveries.py

## soak: flow through the outbox to failing and recovering destinations for MINUTES=10; memory and files flat, nothing lost
MINUTES := 10
soak: .venv/built
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python benches/soak.py $(MINUTES)

## conformance: CEL's own conformance suite, with the number passed and what is excepted
conformance:
	cargo test --locked --quiet --test cel_conformance -- --nocapture

## model: every interleaving of threads on a destination's breaker and in-flight count, by a model checker
model:
	cargo test --locked --quiet --features model --lib pool::model

# Packages that are workspaces of their own, so that nothing else fetches what they bring.
APART := fuzz benches/pools/peers

## lint: formatting and lints of both languages; what is benchmarked and fuzzed compiles
lint: .venv/installed
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	for package in $(APART); do \
		cargo fmt --check --manifest-path $$package/Cargo.toml && cargo clippy --locked --quiet --all-targets \
			--manifest-path $$package/Cargo.toml --target-dir target/lint -- -D warnings || exit 1; \
	done
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy --locked --all-targets --features python --quiet -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check

## typecheck: the Python layer strictly, and the stub against the binary
typecheck: .venv/built
	$(BIN)/mypy
	MYPYPATH=tests $(BIN)/mypy --explicit-package-bases -p benches.rules -p benches.pools -p benches.transports
	$(BIN)/python -m mypy.stubtest turnout._core

## bench: decisions, selection, leases and dispatch beside hand-written Python on the same messages
bench: .venv/built
	mkdir -p target
	$(BIN)/pytest benches -q -p no:cacheprovider --override-ini addopts= --benchmark-only --benchmark-disable-gc \
		--benchmark-columns=min,median,rounds --benchmark-json=target/bench.json
	$(BIN)/python benches/report.py target/bench.json

## bench-rules: the matcher beside hand-written Python and engines from PyPI; ARGS=--quick, --large or --only mix
bench-rules: .venv/built .venv-bench/installed
	PYTHONPATH=python:tests .venv-bench/bin/python -m benches.rules $(ARGS)

## bench-pools: selections and leases at 10 to 100,000 destinations and 1 to 8 threads, beside random.choices and litellm's
## Router from Python, beside pingora and tower in Rust; ARGS=--quick
bench-pools: .venv/built .venv-bench-pools/installed
	PYTHONPATH=python .venv-bench-pools/bin/python -m benches.pools $(ARGS)
	cargo run --locked --quiet --release --manifest-path benches/pools/peers/Cargo.toml --target-dir target/pool-peers

## bench-transports: messages a second through transports and dispatch beside the bare client and FastStream, on servers of
## its own (Kafka, once make test-kafka has brought it); ends with the goals, met or missed; ARGS=--quick or --only nats
bench-transports: .venv/built .venv-bench-transports/installed
	PYTHONPATH=$(CURDIR)/python:$(CURDIR)/tests .venv-bench-transports/bin/python -m benches.transports $(ARGS)

## fuzz: each target of fuzz/ for SECONDS=30; what it finds is in target/fuzz. cargo-fuzz runs them too, on nightly
SECONDS := 30
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes, but for the address sanitizer, the one part that needs a nightly compiler. --target keeps
# build scripts free of it.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
fuzz:
	RUSTFLAGS="$(COVERAGE)" cargo build --locked --quiet --release --manifest-path fuzz/Cargo.toml --target $(HOST) --target-dir target/fuzz
	for target in json expression pattern; do \
		mkdir -p target/fuzz/corpus/$$target && target/fuzz/$(HOST)/release/$$target \
			-max_total_time=$(SECONDS) -timeout=10 -max_len=4096 -verbosity=0 -print_final_stats=1 \
			-dict=fuzz/dictionaries/$$target -artifact_prefix=target/fuzz/$$target- \
			target/fuzz/corpus/$$target fuzz/seeds/$$target || exit 1; \
	done
## bench-peers: the matcher in Rust beside a-tree, aho-corasick and regex, each on the same rules
bench-peers:
	cargo bench --locked --quiet -p peers

## instructions: instructions of the hot paths, by callgrind, against the committed baseline; more than 5 % more fails
instructions:
	$(PYTHON) benches/instructions.py

## instructions-baseline: what they are now becomes the baseline
instructions-baseline:
	$(PYTHON) benches/instructions.py --write

## wheel: the wheel, in dist/
wheel: .venv/installed
	rm -rf dist
	$(BIN)/maturin build --release --locked --out dist

## lock: pin the development tools, and the peers of the benchmarks, anew
lock: .venv/installed
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--generate-hashes --group dev --extra arrays --extra cli --extra plot --output-file requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--generate-hashes --group bench --output-file requirements-bench.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--generate-hashes --group bench-pools --output-file requirements-bench-pools.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--generate-hashes --group bench-transports --output-file requirements-bench-transports.lock pyproject.toml

clean:
	rm -rf .venv .venv-bench .venv-bench-pools .venv-bench-transports dist target demo-output

.venv/installed: requirements-dev.lock
	$(PYTHON) -c 'import sys; sys.exit("turnout needs Python 3.11 or later: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	touch $@

.venv-bench/installed: requirements-bench.lock
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --require-hashes -r requirements-bench.lock
	touch $@

.venv-bench-pools/installed: requirements-bench-pools.lock
	$(PYTHON) -m venv .venv-bench-pools
	.venv-bench-pools/bin/pip install --quiet --require-hashes -r requirements-bench-pools.lock
	touch $@

.venv-bench-transports/installed: requirements-bench-transports.lock
	$(PYTHON) -m venv .venv-bench-transports
	.venv-bench-transports/bin/pip install --quiet --require-hashes -r requirements-bench-transports.lock
	touch $@

.venv/built: .venv/installed $(SOURCES)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
