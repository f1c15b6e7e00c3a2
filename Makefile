# The commands of the README. Each creates .venv when it is missing; nothing else is needed but Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: serve test check bench soak assistants format clean

serve: $(STAMP)  ## run a node on SQLite with a simulated upstream
	@$(BIN)/fairlead serve

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest

check: $(STAMP)  ## lint, format, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

bench: $(STAMP)  ## measure: every benchmark that runs with what is installed
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.routing
	$(BIN)/python -m benchmarks.fairness
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.conversations
	$(BIN)/python -m benchmarks.workspace

soak: $(STAMP)  ## the long versions of the fault loops
	$(BIN)/python -m pytest -m soak --timeout=3600

assistants: .venv-aider/.installed  ## real assistants, each in its own environment, for their tests

.venv-aider/.installed: Makefile
	$(PYTHON) -m venv .venv-aider
	.venv-aider/bin/python -m pip install --quiet --disable-pip-version-check 'aider-chat==0.86.2'
	@touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .venv-aider build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
