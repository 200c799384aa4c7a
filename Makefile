SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo serve test check faults bench conformance openapi lock fmt clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): requirements/all.txt requirements/uv.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not here: install Python 3.11 or newer, or say PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11: say PYTHON=python3.12, say"; exit 1; }
	@echo "installing into $(VENV) (a few minutes the first time: torch is large)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/all.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

install: $(INSTALLED) ## Make the virtual environment (the others do this by themselves)

demo: $(INSTALLED) ## Start everything, explain real images over HTTP, write demo/index.html
	$(BIN)/attribution demo

serve: $(INSTALLED) ## Run gateway, worker, reconciler and private broker until Ctrl-C
	$(BIN)/attribution serve

test: $(INSTALLED) ## Run all tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: $(INSTALLED) ## Lint, format, types and directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: $(INSTALLED) ## Fault tests at full size: thousands of jobs, random kills, broken brokers
	$(BIN)/python -m pytest tests/faults --full-size -v -s

bench: $(INSTALLED) ## Run every benchmark but the two that take hours; each prints JSON lines
	@for file in $(filter-out benchmarks/conformance.py benchmarks/transformers.py,$(wildcard benchmarks/*.py)); do echo "# $$file" >&2; $(BIN)/python $$file || exit 1; done

conformance: $(INSTALLED) ## Hold every method against every network of torchvision and timm (hours), write docs/conformance.md
	$(BIN)/python benchmarks/conformance.py --out benchmarks/conformance.jsonl --table docs/conformance.md >/dev/null

openapi: $(INSTALLED) ## Write openapi/openapi.json anew
	$(BIN)/python -m service.openapi_file

lock: $(INSTALLED) ## Resolve the lock files anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml -q --universal --generate-hashes --no-header --no-annotate -p 3.11 --all-extras --group dev -o requirements/all.txt
	$(BIN)/uv pip compile pyproject.toml -q --universal --generate-hashes --no-header --no-annotate -p 3.11 -c requirements/all.txt --extra embedded --extra postgres --extra s3 -o requirements/gateway.txt
	$(BIN)/uv pip compile pyproject.toml -q --universal --generate-hashes --no-header --no-annotate -p 3.11 -c requirements/all.txt --extra embedded --extra postgres --extra s3 --extra worker -o requirements/worker.txt
	grep -A 40 '^uv==' requirements/all.txt | awk 'NR > 1 && !/^ / {exit} {print}' > requirements/uv.txt

fmt: $(INSTALLED) ## Format the code and sort the imports
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment, caches, demo output and local data
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .attribution
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
