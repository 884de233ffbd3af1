# Needs make and Python 3.11 or later. Everything else goes into .venv.

.DEFAULT_GOAL := help
.SHELLFLAGS := -eu -c
MAKEFLAGS += --no-print-directory

PYTHONS := python3.13 python3.12 python3.11 python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# More than there are cores: many tests wait for a server, a browser or a disk.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadgroup
KERNEL := sequencer originals dicom patterns formats search tlog fhir errors limits
STAMP := .venv/.set-up

# Output reaches a pipe line by line, and tools that ask for a colour get none.
export PYTHONUNBUFFERED := 1
export PIP_NO_COLOR := 1

.PHONY: help setup packages demo test format lint types check soak bench lock clean

help:
	@echo 'make demo    run CareTrail with a synthetic hospital in it'
	@echo 'make test    run all tests'
	@echo 'make check   format, lint, types and all tests with coverage: what has to be green'
	@echo 'make soak    run the long tests'
	@echo 'make bench   measure ingest, search and verification'
	@echo 'make lock    make requirements.lock anew (needs uv)'
	@echo 'make clean   remove what these made'

setup: $(STAMP)
	@:

$(STAMP): requirements.lock pyproject.toml
	@for python in $(PYTHONS); do \
		if $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			found=$$python; break; \
		fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
		echo 'Python 3.11 or later is needed, with its venv module (Debian: python3-venv).' >&2; exit 1; \
	fi; \
	echo 'Setting up .venv; this happens once.'; \
	[ -x $(BIN)/python ] || $$found -m venv .venv
	@# The lock is complete: nothing is left for pip to find out.
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@exec $(BIN)/caretrail demo

# Without root the tests that need them skip, and say why.
packages:
	@[ "$$(id -u)" -ne 0 ] || scripts/install_debian.sh || true

test: setup packages
	@exec $(PYTEST)

format: setup
	@$(BIN)/ruff format --check --quiet .

lint: setup
	@$(BIN)/ruff check --quiet .

types: setup
	@$(BIN)/mypy --no-error-summary

# The tests come last, so that their summary is the last line.
check: format lint types packages
	@exec $(PYTEST) $(foreach room,$(KERNEL),--cov caretrail.$(room)) --cov-branch \
		--cov-report term-missing:skip-covered --cov-fail-under 100

soak: setup
	@exec $(BIN)/python -m pytest -m soak

bench: setup
	@exec $(BIN)/caretrail bench

lock:
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--group dev pyproject.toml --output-file requirements.lock

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dist caretrail-demo
	@find src tests scripts -name __pycache__ -prune -exec rm -rf {} +
