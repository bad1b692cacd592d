# What people and CI both run. `make demo` and `make test` are all that a newcomer needs.
.DEFAULT_GOAL := help
.PHONY: help setup demo down test test-bench fuzz lint types imports protos-check mesh-lint licences third-party check format generate lock clean

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The binary's own package: the one that picks a platform lists those of other systems, which appear in the registry
# later than it does, and npm refuses a lock that lacks them.
BUF := node_modules/@bufbuild/buf-linux-x64/bin/buf
EXAMPLES := 1000
CODE := cli loadtest mesh services triton_models tests protos/generate.py scripts/third_party.py

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# The stamps hold what was installed: they are as old as the files that they came from.
$(RUNTIME): requirements/runtime.txt requirements/xds.txt pyproject.toml scripts/install.sh scripts/choose_python.sh
	@scripts/install.sh $(VENV) runtime
	@touch $@

$(DEV): requirements/dev.txt $(RUNTIME)
	@scripts/install.sh $(VENV) dev
	@touch $@

setup: $(RUNTIME) ## Install the platform into .venv.

demo: $(RUNTIME) ## Start the platform, ingest a corpus, ask a question.
	@$(BIN)/causeway demo

down: ## Stop the platform.
	@if [ -x $(BIN)/causeway ]; then $(BIN)/causeway down; fi

test: $(DEV) ## Run the tests: all but the benchmarks.
	@$(BIN)/python -m pytest

test-bench: $(DEV) ## Run every benchmark, cut short, to see that it works.
	@$(BIN)/python -m pytest -m bench tests/e2e/loadtest

fuzz: $(DEV) ## Make up a thousand requests for every method (EXAMPLES=…), other ones each time.
	@CAUSEWAY_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz tests/integration/fuzz

lint: $(DEV) ## Check style.
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

types: $(DEV) ## Check types, strictly.
	@$(BIN)/mypy

imports: $(DEV) ## Check which part may import which.
	@$(BIN)/lint-imports

protos-check: $(DEV) node_modules ## Lint the protos, look for breaking changes, compare the generated code.
	@$(BIN)/python protos/generate.py --image .build/protos.binpb
	@$(BUF) lint .build/protos.binpb --path causeway
	@$(BUF) breaking .build/protos.binpb --against protos/released.binpb --path causeway
	@$(BIN)/python protos/generate.py --check

mesh-lint: $(RUNTIME) ## Look for traps in the mesh's manifests.
	@$(BIN)/causeway mesh lint istio istio/clusters/us-west-2

check: lint types imports protos-check mesh-lint licences test ## All checks, and the tests.

licences: $(DEV) ## Check that THIRD_PARTY.md is true.
	@$(BIN)/python scripts/third_party.py --check

third-party: $(DEV) ## Write THIRD_PARTY.md.
	@$(BIN)/python scripts/third_party.py

format: $(DEV) ## Format the code.
	@$(BIN)/ruff check --fix-only --quiet $(CODE)
	@$(BIN)/ruff format --quiet $(CODE)

generate: $(DEV) ## Generate Python from the protos.
	@$(BIN)/python protos/generate.py

node_modules: package-lock.json
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(DEV) ## Compile requirements/*.in into the pinned *.txt.
	@for set in runtime dev; do \
	  $(COMPILE) --override requirements/overrides.txt requirements/$$set.in -o requirements/$$set.txt; \
	done
	@$(COMPILE) --no-emit-package grpcio --no-emit-package protobuf --no-emit-package typing-extensions \
	  requirements/xds.in -o requirements/xds.txt

clean: down ## Remove everything that was installed or built.
	@rm -rf $(VENV) .build .causeway node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
