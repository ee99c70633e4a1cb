# `make run` and `make test` set everything up themselves; they need Python 3.11 to 3.13, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := uv==0.13.9

.PHONY: run test soak contract lint lock bench bench-learning pictures clean

run: $(VENV)/.run
	$(BIN)/python live_trader.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# The same proofs as in the tests, for hours: simulated sessions, kills, mutated input, weeks in one process.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.simulation.run --sessions 20000 --jobs 2
	$(BIN)/python tests/killing.py --kills 1000
	FUZZ=10000 SOAK=true $(BIN)/python -m pytest tests/test_fuzz.py tests/test_desk_machine.py
	$(BIN)/python -m benchmarks.long_run

# Alpaca's published description judges our requests and the stand-in of the tests; that needs Node besides.
contract: $(VENV)/.dev
	@if { node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' && npm --version; } >/dev/null 2>&1; \
		then $(BIN)/python -m pytest tests/contract/contract.py; \
		else echo "make contract: not run, there is no Node 20 with npm on this machine"; fi

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# After a change to requirements*.txt: what they need in turn, in exact versions with hashes, for every system we run on.
lock: $(BIN)/python
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	for name in requirements requirements-dev; do \
		$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			--no-annotate $$name.txt --output-file $$name.lock || exit; \
		{ echo "# Made by \`make lock\` from $$name.txt, for Python 3.11 to 3.13 on Linux and macOS."; cat $$name.lock; } \
			> $(VENV)/lock/new && mv $(VENV)/lock/new $$name.lock || exit; \
	done

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.alpaca
	$(BIN)/python -m benchmarks.page

# The README's pictures, of a real run; needs Chromium.
pictures: $(VENV)/.dev
	$(BIN)/python -m benchmarks.pictures

# Forty markets of each kind; about 20 minutes on 2 cores.
bench-learning: $(VENV)/.dev
	$(BIN)/python -m benchmarks.learning

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python requirements.lock
	$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: $(BIN)/python requirements-dev.lock
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.run
