PYTHON ?= python3
PORT   ?= 8000
# Not from the environment, where some shells keep the name of the machine.
HOST   := 127.0.0.1
# Which tests, and how: make test ARGS='-k subscribe -x'
MARKS  ?= not chaos
ARGS   ?=
MINUTES ?= 30

# Another one for another Python: make test PYTHON=python3.12 VENV=build/py3.12
VENV   := .venv
LOWEST := build/lowest
PIP    := -m pip --disable-pip-version-check --require-virtualenv install --quiet

.PHONY: help run test test-lowest fuzz leaks bench lint format clean
.DELETE_ON_ERROR:

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: $(VENV)/.run ## Start the service with its chat page, for this machine only (PORT=8000, HOST=0.0.0.0)
	@echo "Open http://localhost:$(PORT)/ in two browser tabs; Ctrl-C stops the service."
	@exec $(VENV)/bin/twistd --nodaemon --pidfile= bayeux --listen tcp:$(PORT):interface=$(HOST)

test: $(VENV)/.test ## Run the tests (MARKS='not chaos', ARGS='-k word')
	$(VENV)/bin/python -m pytest -m '$(MARKS)' $(ARGS)

test-lowest: $(LOWEST)/.test ## Run them with the oldest dependencies that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest -m 'not interop and not chaos and not packaging' $(ARGS)

fuzz: $(VENV)/.fuzz ## Try random input, guided by coverage (MINUTES=30, ARGS='http websocket')
	$(VENV)/bin/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

leaks: $(VENV)/.test ## Look for leaks: 400,000 sessions that end abruptly, 20 minutes (ARGS='--engine memory')
	$(VENV)/bin/python -m tests.leaks $(ARGS)

bench: $(VENV)/.test ## Compare with other servers, into build/bench (QUICK=1: minutes)
	$(VENV)/bin/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

lint: $(VENV)/.dev ## Check style, formatting, types and layout
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q tests/test_layout.py tests/test_imports.py

format: $(VENV)/.dev ## Repair style and formatting where a tool can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## Remove everything that was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name dropin.cache -exec rm -f {} +

# Recreated when pyproject.toml changes, so that no dropped dependency is left in it.
$(VENV)/pyvenv.cfg $(LOWEST)/pyvenv.cfg: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: $(PYTHON) is not a Python 3.11 or later; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	@touch $@

$(VENV)/.run: $(VENV)/pyvenv.cfg
	$(VENV)/bin/python $(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/pyvenv.cfg
	$(VENV)/bin/python $(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/pyvenv.cfg
	$(VENV)/bin/python $(PIP) --editable '.[fuzz]'
	@touch $@

$(VENV)/.dev: $(VENV)/pyvenv.cfg
	$(VENV)/bin/python $(PIP) --editable '.[dev]'
	@touch $@

$(LOWEST)/.test: $(LOWEST)/pyvenv.cfg .ci/lowest.py
	$(LOWEST)/bin/python .ci/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python $(PIP) --constraint $(LOWEST)/constraints.txt --editable '.[test]'
	@touch $@
