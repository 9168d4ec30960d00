# The only door: `make help` lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := examples/proyecto
PORT ?= 8000

SOURCES := $(shell find crates python -type f \( -name '*.rs' -o -name '*.py' -o -name '*.pyi' \
	-o -name '*.toml' -o -name 'py.typed' \)) Cargo.toml Cargo.lock pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help build run test lint test-rust test-python fuzz deny docs bench clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: $(VENV)/.built ## Leave a release build at .venv/bin/remuda

run: build $(VENV)/.site ## Build, prepare the example site, serve it with config/railway.env
	@echo "Serving $(SITE) on http://127.0.0.1:$(PORT)/ with config/railway.env; Ctrl-C ends it. (Admin: admin, password admin)"
	set -a; . ./config/railway.env; set +a; \
	cd $(SITE) && PORT=$(PORT) exec ../../$(BIN)/remuda proyecto.wsgi

test: lint test-rust test-python ## Run every check and every test

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

test-rust: ## Unit tests, state tables, random worlds
	@if command -v cargo-nextest >/dev/null; \
	then cargo nextest run --workspace --locked && cargo test --workspace --doc --locked --quiet; \
	else cargo test --workspace --locked --quiet; fi

test-python: build $(VENV)/.tools $(VENV)/.site ## Real processes, real Django, real databases
	cd $(SITE) && ../../$(BIN)/python manage.py test --verbosity 1
	$(BIN)/python -m pytest -n 4 tests

fuzz: ## Look for bytes that break the front (SECONDS=600 for each kind of app)
	FUZZ_SECONDS=$(or $(SECONDS),600) cargo test --locked --release -p remuda-front --test fuzz -- --nocapture

docs: ## Write the generated reference pages again
	UPDATE=1 cargo test --quiet -p remuda-settings -p remuda-journal

bench: build ## Compare with other servers; prints a table (BENCH="--rounds 1" for options)
	$(BIN)/python benches/run.py $(BENCH)

clean: ## Remove what was built
	rm -rf target $(VENV) .venv-bench build dist python/*.egg-info

# A virtual environment with what builds the wheel. Rust is built in ./target, so it is incremental.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	sys.exit(None if (3, 10) <= v <= (3, 14) else "remuda needs Python 3.10 to 3.14, not %d.%d" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77' 'setuptools-rust>=1.11' wheel
	touch $@

$(VENV)/.built: $(VENV)/.created $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
		--force-reinstall .
	touch $@

$(VENV)/.tools: $(VENV)/.created tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

$(VENV)/.site: $(VENV)/.built $(SITE)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(SITE)/requirements.txt
	cd $(SITE) && ADMIN_PASSWORD=$${ADMIN_PASSWORD:-admin} ../../$(BIN)/python manage.py prepare
	touch $@
