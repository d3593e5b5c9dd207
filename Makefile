# What a person does with a clone of tepal. `make help` lists it; `.ci/run` runs the same two commands as you would.
#
# All of it lives in the clone: a virtual environment in .venv, Rust's output in target/. Stamps in .venv/.stamps
# remember what was built from what, so a second run starts at once.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
APP ?= examples/hello_aiohttp.py
ARGS ?=
BENCH ?=
PARTS ?=
SUITES ?=
PYTHONS ?= $(PYTHON)
ONLY ?=
DEBIAN ?=
FREE_THREADED ?=

py := $(VENV)/bin/python
stamps := $(VENV)/.stamps
pip := $(py) -m pip --disable-pip-version-check --no-input install --quiet

# Whatever goes into the wheel. A folder's own date changes when a file in it comes or goes, so folders count too.
sources := Cargo.toml Cargo.lock pyproject.toml README.md LICENSE-MIT LICENSE-APACHE \
	$(shell find crates python -not -path '*/__pycache__*' -not -name '*.so' \
	\( -type d -o -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -name '*.toml' -o -name py.typed \))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Every target fills the same virtual environment or the same cargo target; -j would only make them trip over each other.
.NOTPARALLEL:
.PHONY: help run build test test-all pythons conformance lint format bench compatibility clean tools

help: ## show this list
	@echo "tepal: make <target> [PYTHON=python3.13] [VENV=.venv-3.13]"; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 17

run: $(stamps)/tepal $(stamps)/example ## serve a page on tepal; your program: make run APP=path/to/app.py ARGS="..."
	@echo "==> tepal run $(APP) $(ARGS)"
# On a terminal the program gets the foreground to itself (set -m), so that Ctrl-C is the program's to answer and make,
# which would call any Ctrl-C a failure, reports how the program ended.
# (`exit $$?` keeps bash from replacing itself with the program, in which case it would be no job of its own.)
	@if [ -t 0 ]; then set -m; fi; $(VENV)/bin/tepal run $(APP) $(ARGS); exit $$?

build: $(stamps)/tepal ## build the release wheel and install it into the virtual environment

test: $(stamps)/tepal $(stamps)/test ## run every test: Rust, Python, conformance; some: make test PARTS="rust python"
	@$(py) scripts/test $(PARTS)

# `make test` asks every Python that is easily found for CPython's tests, this one asks each for all of ours, too.
test-all: tools ## run every test on every Python there is (make pythons), some: PARTS="python" ONLY="3.14 3.13t"
	@$(PYTHON) scripts/test-all $(addprefix --only ,$(ONLY)) $(PARTS)

pythons: tools ## list the Pythons there are; DEBIAN=1: get 3.13 to 3.15 (as root); FREE_THREADED=1: build one without a GIL
	@if [ -n "$(DEBIAN)" ]; then scripts/debian-pythons >/dev/null; fi
	@if [ -n "$(FREE_THREADED)" ]; then scripts/free-threaded-python >/dev/null; fi
	@$(PYTHON) scripts/pythons --all

conformance: $(stamps)/tepal $(stamps)/test ## run other people's suites, write conformance/REPORT.md; some: make conformance SUITES="uvloop anyio"
	@$(py) -m conformance $(SUITES) --python $(PYTHONS) --control --report

lint: tools $(stamps)/dev ## check format, lints, types and file sizes
	@scripts/check-tools "$(PYTHON)" "$(VENV)" lint
	@PATH="$(abspath $(VENV))/bin:$$PATH" scripts/lint

format: tools $(stamps)/dev ## put the sources into their format
	cargo fmt --all
	$(py) -m ruff check --fix --quiet .
	$(py) -m ruff format --quiet .

bench: $(stamps)/tepal $(stamps)/bench ## measure against every installed rival; a part: make bench BENCH="echo timers"
	@$(py) -m benches $(BENCH)

compatibility: $(stamps)/tepal $(stamps)/bench ## try every loop on every method and argument, and write docs/compatibility.md
	@$(py) -m conformance.compatibility

clean: ## remove the virtual environment, Rust's output and every cache
	rm -rf $(VENV) .venvs .cache target dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

tools:
	@scripts/check-tools "$(PYTHON)" "$(VENV)"

$(stamps)/venv: | tools
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@"$(PYTHON)" -m venv "$(VENV)"
	@mkdir -p $(stamps) && touch $@

$(stamps)/maturin: requirements/build.txt $(stamps)/venv
	@echo "==> installing the build tool"
	@$(pip) -r $< && touch $@

$(stamps)/example: requirements/example.txt $(stamps)/venv
	@echo "==> installing what the examples need"
	@$(pip) -r $< && touch $@

$(stamps)/test: requirements/test.txt requirements/build.txt requirements/example.txt $(stamps)/venv
	@echo "==> installing what tests need"
	@$(pip) -r $< && touch $@

$(stamps)/dev: requirements/dev.txt requirements/test.txt requirements/build.txt requirements/example.txt $(stamps)/venv
	@echo "==> installing what tests and lints need"
	@$(pip) -r $< && touch $@

$(stamps)/bench: requirements/bench.txt $(stamps)/venv
	@echo "==> installing the rivals"
	@$(pip) -r $< && touch $@

# The conformance runs install the same wheel, so it is built once for each Python (scripts/build_wheels says where it goes).
$(stamps)/tepal: $(sources) $(stamps)/maturin
	@echo "==> building tepal (release; the first time takes a minute or two)"
	@wheel=$$($(py) scripts/build_wheels --python $(py)) && echo "==> installing tepal into $(VENV)" && \
		$(pip) --force-reinstall --no-deps --no-index "$$wheel" && touch $@
