# The only door: `make help` lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GUNICORN := .venv-gunicorn
SITE := examples/proyecto
PORT ?= 8000

# What the wheel is made of; the load client is not part of it.
SOURCES := $(shell find crates python -path crates/load -prune -o -type f \( -name '*.rs' -o -name '*.py' -o -name '*.pyi' \
	-o -name '*.toml' -o -name 'py.typed' \) -print) Cargo.toml Cargo.lock pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help build run test lint test-rust test-loom test-python fuzz autobahn deny docs recycles simulate soak \
	mutants load bench bench-programs bench-build bench-publish bench-publish-memory bench-instructions bench-memory \
	bench-memory-run bench-micro bench-fair bench-allocator test-immortal test-immortal-run clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 21

build: $(VENV)/.built ## Leave a release build at .venv/bin/remuda

run: build $(VENV)/.site ## Build, prepare the example site, serve it with config/railway.env
	@echo "Serving $(SITE) on http://127.0.0.1:$(PORT)/ with config/railway.env; Ctrl-C ends it. (Admin: admin, password admin)"
	set -a; . ./config/railway.env; set +a; \
	cd $(SITE) && PORT=$(PORT) exec ../../$(BIN)/remuda proyecto.wsgi

test: lint test-rust test-loom test-python ## Run every check and every test

lint: $(VENV)/.tools ## Formatting, clippy, ruff, mypy, dependencies
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory deny

deny: ## Licences, sources and duplicates of the dependencies
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; \
	else echo "NOT RUN: cargo-deny is not installed (cargo install --locked cargo-deny)" >&2; fi

test-rust: ## Unit tests, state tables, thousands of simulated lives
	@if command -v cargo-nextest >/dev/null; \
	then cargo nextest run --workspace --locked && cargo test --workspace --doc --locked --quiet; \
	else cargo test --workspace --locked --quiet; fi

test-loom: ## Every interleaving of a writer and a reader of the scoreboard
	RUSTFLAGS="--cfg loom" cargo test --quiet --locked -p remuda-scoreboard --lib --target-dir target/loom

# What loads the machine itself, or measures who waits for whom, has it to itself.
ALONE := tests/loss tests/request/test_fairness.py

test-python: build load $(VENV)/.tools $(VENV)/.site $(GUNICORN)/.built ## Real processes, real Django, real databases
	cd $(SITE) && ../../$(BIN)/python manage.py test --verbosity 1
	$(BIN)/python -m pytest -n 4 --dist worksteal tests --ignore tests/loss --ignore tests/request/test_fairness.py
	$(BIN)/python -m pytest $(ALONE)

autobahn: build ## WebSocket conformance: the Autobahn test suite (WSTEST=path/to/wstest)
	$(BIN)/python tests/autobahn/run.py $(or $(WSTEST),wstest) $(AUTOBAHN)

fuzz: ## Look for bytes that break the front (SECONDS=600 for each kind of app)
	FUZZ_SECONDS=$(or $(SECONDS),600) cargo test --locked --release -p remuda-front \
		--test fuzz --test fuzz_uwsgi -- --nocapture

# The immortal heap needs Python 3.12 or 3.13; `make test-python` says NOT RUN with others.
test-immortal: ## The immortal heap with Python 3.13 (or PYTHON=), CPython's own tests in it included
	$(MAKE) --no-print-directory test-immortal-run \
		PYTHON=$(if $(filter file,$(origin PYTHON)),$(or $(PYTHON_313),$(PYTHON)),$(PYTHON))

test-immortal-run: bench-build
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	$(BENCH_VENV)/bin/python -m pytest tests/memory
	$(BENCH_VENV)/bin/python tests/memory/cpython_suite.py

recycles: build $(VENV)/.tools ## Recycle RECYCLES=10000 workers, and compare the master before and after
	RECYCLES=$(or $(RECYCLES),10000) $(BIN)/python -m pytest -s -k many_recycles --timeout 7200 tests/process/test_shortage.py

docs: ## Write the generated reference pages again
	UPDATE=1 cargo test --quiet -p remuda-settings -p remuda-journal

simulate: ## Run the supervisor through SEEDS=100000 lives with faults, from FIRST=0; or tell SEED=n
	cargo run --quiet --release -p remuda-simulator -- $(if $(SEED),seed $(SEED),$(or $(SEEDS),100000) $(or $(FIRST),0))

soak: build load $(VENV)/.tools ## Ask REQUESTS=1000000 times while faults happen, and count what is lost; SEED=n chooses the faults
	REQUESTS=$(or $(REQUESTS),1000000) SEED=$(or $(SEED),1) $(BIN)/python -m pytest -s tests/loss

mutants: ## Break the supervisor in hundreds of ways, and count what tests and simulator catch
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants
	SEEDS=400 cargo mutants --package remuda-supervisor --test-package remuda-supervisor \
		--test-package remuda-simulator --test-tool nextest --profile mutants --jobs 2 --timeout 30 --output target \
		-- -E 'not binary(sabotage)'

load: ## Build the load client at target/release/remuda-load
	cargo build --quiet --release --locked -p remuda-load

# Its environment holds this build and all other servers, for the interpreter that PYTHON names.
BENCH_VENV := .venv-bench/$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

bench: bench-programs ## Compare with other servers (BENCH="--quick", BENCH="--help" for more)
	$(BENCH_VENV)/bin/python benches/run.py $(BENCH)

bench-publish: ## Put the last run of `make bench` into docs/benchmarks.md
	$(PYTHON) benches/publish.py $(BENCH)

bench-publish-memory: ## Put the last run of `make bench-memory` into docs/benchmarks.md
	$(PYTHON) benches/publish.py --memory $(BENCH)

bench-fair: bench-programs ## Who waits for whom: mixed requests, thousands of idle connections
	$(BENCH_VENV)/bin/python benches/fair.py $(BENCH)

bench-instructions: bench-programs ## Instructions a request, where no two times are the same
	$(BENCH_VENV)/bin/python benches/instructions.py $(BENCH)

bench-programs: load bench-build
	cargo build --quiet --release --locked -p remuda-front --example hello
	$(BENCH_VENV)/bin/python benches/install.py servers

bench-build:
	env -u SETUPTOOLS_RUST_CARGO_PROFILE $(MAKE) --no-print-directory build VENV=$(BENCH_VENV)

# Memory depends on the version of Python: 3.13 where pyenv has it, unless PYTHON says otherwise.
PYTHON_313 := $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python3))

bench-memory: ## Memory of remuda and gunicorn with the same workers (BENCH="--quick", BENCH="--help")
	$(MAKE) --no-print-directory bench-memory-run \
		PYTHON=$(if $(filter file,$(origin PYTHON)),$(or $(PYTHON_313),$(PYTHON)),$(PYTHON))

bench-memory-run: load bench-build
	$(BENCH_VENV)/bin/python benches/install.py memory
	$(BENCH_VENV)/bin/python benches/memory.py $(BENCH)

bench-allocator: load bench-build ## Whether other allocator and collector settings pay (BENCH="--help")
	$(BENCH_VENV)/bin/python benches/install.py memory
	$(BENCH_VENV)/bin/python benches/allocator.py $(BENCH)

# PYO3_PYTHON: the interpreter that is linked into the benchmark.
bench-micro: ## What one request costs, without other servers: front alone, then with Python
	PYO3_PYTHON=$$($(PYTHON) -c 'import sys; print(sys.executable)') \
	cargo bench --locked -p remuda-front -p remuda-python

clean: ## Remove what was built
	rm -rf target $(VENV) .venv-bench build dist python/*.egg-info

# A virtual environment with what builds the wheel. Rust is built in ./target, so it is incremental.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	sys.exit(None if (3, 10) <= v <= (3, 14) else "remuda needs Python 3.10 to 3.14, not %d.%d" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77' 'setuptools-rust>=1.12' wheel
	touch $@

$(VENV)/.built: $(VENV)/.created $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
		--force-reinstall .
	touch $@

$(VENV)/.tools: $(VENV)/.created tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

# The real one, for tests that run both side by side. In a place of its own: remuda must not find it.
$(GUNICORN)/.built: tests/compat/requirements.txt
	$(PYTHON) -m venv $(GUNICORN)
	$(GUNICORN)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/compat/requirements.txt
	touch $@

$(VENV)/.site: $(VENV)/.built $(SITE)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(SITE)/requirements.txt
	cd $(SITE) && ADMIN_PASSWORD=$${ADMIN_PASSWORD:-admin} ../../$(BIN)/python manage.py prepare
	touch $@
