# make run    build .venv, decide every example line, print the decisions
# make serve  answer over HTTP on this machine
# make fuzz   engine against evaluator for SECONDS=60
# make bench  the same work on other engines, and whole decisions
# make test   everything that has to hold: style, types, rules, examples, tests
# PYTHON=/path/to/python chooses the interpreter; all paths are relative, so spaces in the directory's name do no harm.

SHELL := /bin/sh
.DEFAULT_GOAL := run

VENV := .venv
BIN := $(VENV)/bin
LOG := byreport.db
PORT := 8000
SECONDS := 60
# pytest's processes; one machine in two has no more than two cores
WORKERS := 2

# Python 3.13 dropped a name that the engine's C source uses; the new name does the same. A cached wheel may lack it.
ENGINE_FLAGS := -DPyEval_CallObject=PyObject_CallObject
PIP_INSTALL := "$(BIN)/python" -m pip install --quiet --disable-pip-version-check

.PHONY: run serve test fuzz bench clean

run: $(VENV)/.run
	@"$(BIN)/byreport" --log "$(LOG)" decide examples/claims/*.json
	@printf '\n%s\n\n' "All decisions are in $(LOG). One line of your own:"
	@printf '    %s\n' "$(BIN)/byreport --log $(LOG) decide claim.json"
	@printf '\n%s\n\n' "Start the service, and ask it from another terminal:"
	@printf '    %s\n' "make serve"
	@printf "    %s \\\\\n" "curl -s -H 'Content-Type: application/json' --data @examples/claims/02-eptinezumab-with-its-code.json"
	@printf '         %s\n' "http://127.0.0.1:$(PORT)/v1/decisions"

serve: $(VENV)/.run
	@exec "$(BIN)/byreport" --log "$(LOG)" serve --port "$(PORT)"

test: $(VENV)/.test
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/byreport" check
	"$(BIN)/byreport" test
	"$(BIN)/python" -m pytest -n $(WORKERS)

fuzz: $(VENV)/.test
	"$(BIN)/python" benchmarks/fuzz.py $(SECONDS)

bench: $(VENV)/.bench
	"$(BIN)/python" benchmarks/bench.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find service tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: made once, and again when pyproject.toml changes ---------------------------------------------

$(VENV)/.python:
	@set -e; chosen="$(PYTHON)"; \
	fits='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; \
	if [ -z "$$chosen" ] && "$(BIN)/python" -c "$$fits" 2>/dev/null && "$(BIN)/python" -m pip --version >/dev/null 2>&1; then \
	    touch "$@"; exit 0; \
	fi; \
	if [ -z "$$chosen" ]; then \
	    for name in python3.13 python3.12 python3.11 python3.10 python3 python; do \
	        if command -v $$name >/dev/null 2>&1 && $$name -c "$$fits" 2>/dev/null; then chosen=$$name; break; fi; \
	    done; \
	fi; \
	if [ -z "$$chosen" ] || ! "$$chosen" -c "$$fits" 2>/dev/null; then \
	    echo "make: needs Python 3.10, 3.11, 3.12 or 3.13; $${chosen:-no python on the path} is not. Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! command -v cc >/dev/null 2>&1 && ! command -v gcc >/dev/null 2>&1 && ! command -v clang >/dev/null 2>&1; then \
	    echo "make: needs a C compiler for the rule engine (Debian and Ubuntu: apt install gcc; Fedora: dnf install gcc; macOS: xcode-select --install)" >&2; exit 1; \
	fi; \
	if ! "$$chosen" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'; then \
	    echo "make: the headers of $$chosen are missing (Debian and Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)" >&2; exit 1; \
	fi; \
	echo "building $(VENV) with $$("$$chosen" --version)"; \
	rm -rf "$(VENV)"; \
	"$$chosen" -m venv "$(VENV)" || { rm -rf "$(VENV)"; echo "make: $$chosen can't make a virtual environment (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	touch "$@"

$(VENV)/.engine: $(VENV)/.python
	@echo "compiling the rule engine"
	@CPPFLAGS="$$CPPFLAGS $(ENGINE_FLAGS)" $(PIP_INSTALL) --no-cache-dir --use-pep517 "$$(sed -n 's/.*"\(durable-rules==[^"]*\)".*/\1/p' pyproject.toml)"
	@touch "$@"

$(VENV)/.run: $(VENV)/.engine pyproject.toml
	@echo "installing byreport"
	@$(PIP_INSTALL) --editable .
	@touch "$@"

$(VENV)/.test: $(VENV)/.run
	@echo "installing what the tests need"
	@$(PIP_INSTALL) --editable '.[test]'
	@touch "$@"

$(VENV)/.bench: $(VENV)/.test
	@echo "installing the engines to compare with"
	@$(PIP_INSTALL) --editable '.[bench]'
	@touch "$@"
