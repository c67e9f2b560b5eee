# `make run` and `make test` need make and Python 3.11 or newer with venv, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Four processes share two cores, because many tests wait for a server or a clock.
PYTEST_ARGS ?= -n 4 --dist loadgroup

# Checks and mypy load the settings; nothing is encrypted with these keys.
CHECK_ENV := SECRET_KEY=only-for-checks-only-for-checks-0123456789 ENCRYPTION_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

# For test-services; the user must be allowed to create databases.
TEST_DATABASE_URL ?= postgres://postgres@127.0.0.1:5432/postgres
TEST_BROKER_URL ?= redis://127.0.0.1:6379/15

.PHONY: run test test-fast test-services e2e soak crash bench lint types migrations schema check venv venv-dev requirements docs clean
.DEFAULT_GOAL := run

run: venv
	@exec $(BIN)/python manage.py up

test: venv-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What is worth running at every save: no server processes, no browser, nothing that takes seconds.
test-fast: venv-dev
	$(BIN)/python -m pytest -m "not slow and not e2e and not browser and not crash" $(PYTEST_ARGS)

test-services: venv-dev
	TEST_DATABASE_URL=$(TEST_DATABASE_URL) TEST_BROKER_URL=$(TEST_BROKER_URL) $(BIN)/python -m pytest $(PYTEST_ARGS)

e2e: venv-dev
	$(BIN)/python -m pytest -m e2e $(PYTEST_ARGS)

# The lifecycle tests at length: many more random examples, and a kill at every boundary instead of at some.
LIFECYCLE_TESTS := $(addprefix tests/reconciliation/test_,lifecycle_model.py lifecycle_of_each_provider.py \
	lease_continuity.py killed_workers.py)
soak: venv-dev
	LIFECYCLE_EXAMPLES=150 LEASE_SEEDS=50 KILL_AT_EVERY=1 $(BIN)/python -m pytest $(LIFECYCLE_TESTS) $(PYTEST_ARGS)

# The crash, full-disk and fuzz tests at length; `make test` runs them briefly.
crash: venv-dev
	CRASH_ROUNDS=20 FUZZ_REQUESTS=5000 $(BIN)/python -m pytest -m crash -n 0

# The cost of a pass over 10,000 healthy subscriptions, and the receiver's speed as ratios within one run.
# BENCH_ARGS="--quick" takes a quarter of an hour instead of two hours.
bench: venv-dev
	$(BIN)/python -m tests.bench.reconcile_pass
	PYTHONPATH=. $(BIN)/python -m tests.bench $(BENCH_ARGS)

lint: venv-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/djade --check --target-version 5.2 $$(find templates -name '*.html')
	$(BIN)/lint-imports

types: venv-dev
	$(CHECK_ENV) $(BIN)/mypy .

migrations: venv-dev
	$(CHECK_ENV) $(BIN)/python manage.py check
	$(CHECK_ENV) $(BIN)/python manage.py makemigrations --check --dry-run

# Generates the OpenAPI document. A test compares it with the code.
schema: venv-dev
	$(CHECK_ENV) $(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

check: lint types migrations test

# The environment holds a copy of the requirements that are installed, so nothing is installed again until they change.
venv: $(BIN)/python
	@cmp -s requirements.txt $(VENV)/requirements.txt || { $(call install,requirements.txt); }

venv-dev: $(BIN)/python
	@cmp -s requirements-dev.txt $(VENV)/requirements-dev.txt || { $(call install,requirements-dev.txt); }

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PYTHON: $(PYTHON) is missing or older than 3.11; run make PYTHON=/path/to/a/newer/python3." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# uv installs in seconds where pip takes half a minute. It reads the system's certificates, so that it also works behind
# a company's own certificate authority. Packages are compiled at once, as pip does: each process starts two seconds sooner.
# pip takes over where uv is missing or fails; output is shown only if both fail.
define install
	echo "Installing $(1) ..."; \
	uv="$$(command -v uv || echo $(BIN)/uv)"; log=$(VENV)/install.log; \
	[ -x "$$uv" ] || $(BIN)/python -m pip install --quiet uv >$$log 2>&1 || true; \
	{ UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 "$$uv" pip install --quiet --compile-bytecode --python $(BIN)/python -r $(1) \
		|| $(BIN)/python -m pip install --quiet -r $(1); } >>$$log 2>&1 || { cat $$log >&2; exit 1; }; \
	cp $(1) $(VENV)/$(1)
endef

# Compiles both requirement files from pyproject.toml, with the newest versions that work together.
COMPILE := pip compile pyproject.toml --universal --python-version 3.11 --upgrade --quiet \
	--no-header --no-annotate --no-emit-index-url
HEADER := \# Compiled from pyproject.toml by `make requirements`; do not edit.
requirements: venv-dev
	$(BIN)/uv $(COMPILE) -o requirements.txt
	$(BIN)/uv $(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt
	sed -i '1i $(HEADER)' requirements.txt requirements-dev.txt

# Generates the provider comparison. A test compares it with the code.
docs: venv-dev
	$(CHECK_ENV) $(BIN)/python manage.py provider_table > docs/providers.md

# Removes what can be built again; the data in var/ stays.
clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
