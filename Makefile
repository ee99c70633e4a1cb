# `make run` and `make test` set everything up themselves; they need Python 3.11 to 3.13, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test contract lint bench bench-learning clean

run: $(VENV)/.run
	$(BIN)/python live_trader.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# Alpaca's published description judges our requests and the stand-in of the tests; that needs Node besides.
contract: $(VENV)/.dev
	@if { node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' && npm --version; } >/dev/null 2>&1; \
		then $(BIN)/python -m pytest tests/contract/contract.py; \
		else echo "make contract: not run, there is no Node 20 with npm on this machine"; fi

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.alpaca

# Forty markets of each kind; about 20 minutes on 2 cores.
bench-learning: $(VENV)/.dev
	$(BIN)/python -m benchmarks.learning

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(BIN)/python requirements.txt requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.run
