# `make run` and `make test` need make and Python 3.11 or newer with venv, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Three processes for two cores: a test often waits for a server or a clock.
PYTEST_ARGS ?= -n 3 --dist loadgroup

# Checks and mypy load the settings, but nothing is ever encrypted with these.
CHECK_ENV := SECRET_KEY=only-for-checks ENCRYPTION_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

# For test-services; the user must be allowed to create databases.
TEST_DATABASE_URL ?= postgres://postgres@127.0.0.1:5432/postgres
TEST_BROKER_URL ?= redis://127.0.0.1:6379/15

.PHONY: run test test-services e2e soak crash bench lint types migrations schema check venv venv-dev requirements docs clean
.DEFAULT_GOAL := run

run: venv
	exec $(BIN)/python manage.py up

test: venv-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-services: venv-dev
	TEST_DATABASE_URL=$(TEST_DATABASE_URL) TEST_BROKER_URL=$(TEST_BROKER_URL) $(BIN)/python -m pytest $(PYTEST_ARGS)

e2e: venv-dev
	$(BIN)/python -m pytest -m e2e $(PYTEST_ARGS)

# The proofs of the lifecycle for long: many more, random examples, and a kill at every boundary instead of at some.
soak: venv-dev
	LIFECYCLE_EXAMPLES=150 LEASE_SEEDS=50 KILL_AT_EVERY=1 $(BIN)/python -m pytest \
		tests/reconciliation/test_lifecycle_model.py tests/reconciliation/test_lifecycle_of_each.py tests/reconciliation/test_no_gap.py tests/reconciliation/test_kills.py $(PYTEST_ARGS)

# What is killed, filled up and sent nonsense in a short form among the tests, for long.
crash: venv-dev
	CRASH_ROUNDS=20 FUZZ_REQUESTS=5000 $(BIN)/python -m pytest -m crash -n 0

# What a pass over 10,000 healthy subscriptions costs, and how fast the receiver is, as ratios within one run;
# BENCH_ARGS="--quick" takes a quarter of an hour instead of two hours.
bench: venv-dev
	$(BIN)/python -m tests.bench.reconcile_pass
	PYTHONPATH=. $(BIN)/python -m tests.bench $(BENCH_ARGS)

lint: venv-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: venv-dev
	$(CHECK_ENV) $(BIN)/mypy .

migrations: venv-dev
	$(CHECK_ENV) $(BIN)/python manage.py check
	$(CHECK_ENV) $(BIN)/python manage.py makemigrations --check --dry-run

# The REST API's description; a test compares it with the code.
schema: venv-dev
	$(CHECK_ENV) $(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

check: lint types migrations test

# The installed file is kept in the environment: nothing is installed again until it differs.
venv: $(BIN)/python
	@cmp -s requirements.txt $(VENV)/requirements.txt || { $(call install,requirements.txt); }

venv-dev: $(BIN)/python
	@cmp -s requirements-dev.txt $(VENV)/requirements-dev.txt || { $(call install,requirements-dev.txt); }

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PYTHON: $(PYTHON) is missing or older than 3.11; run make PYTHON=/path/to/a/newer/python3." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# uv takes seconds where pip takes half a minute; where it cannot be had, or cannot reach the packages, pip does it.
define install
	uv="$$(command -v uv || echo $(BIN)/uv)"; \
	[ -x "$$uv" ] || $(BIN)/python -m pip install --quiet uv || true; \
	echo "Installing $(1) ..."; \
	{ [ -x "$$uv" ] && "$$uv" pip install --quiet --python $(BIN)/python -r $(1); } \
		|| $(BIN)/python -m pip install --quiet -r $(1) || exit 1; \
	cp $(1) $(VENV)/$(1)
endef

# Writes both requirement files anew from pyproject.toml, with the newest versions that fit together.
COMPILE := pip compile pyproject.toml --universal --python-version 3.11 --upgrade --quiet \
	--no-header --no-annotate --no-emit-index-url
HEADER := \# Compiled from pyproject.toml by `make requirements`; do not edit.
requirements: venv-dev
	$(BIN)/uv $(COMPILE) -o requirements.txt
	$(BIN)/uv $(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt
	sed -i '1i $(HEADER)' requirements.txt requirements-dev.txt

# What is generated from the code; tests compare it.
docs: venv-dev
	$(CHECK_ENV) $(BIN)/python manage.py provider_table > docs/providers.md

# The data in var/ stays.
clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
