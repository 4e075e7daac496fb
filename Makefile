# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# pip compiles one file at a time, and some machines keep Python from keeping what it compiled.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/tests/' $(VENV)/lib cilium_analysis cilium_simulator
# Servers and browser are fetched while pip works, and types are checked while tests run.
MAKEFLAGS += --jobs=2

# What the image can do, beside what all can.
IMAGE := fleet kubernetes notify pdf s3 gcs azure aws google azure-monitor

.PHONY: demo test test-all tests lint lock servers browser sample sweep bench incidents docs clean \
	wheel images other coverage

demo: $(STAMP)
	$(BIN)/cilium-analysis demo

# Of the slow tests a seventh, another one every day.
test: lint tests

# All tests, in twice the time.
test-all: SLOW := --slow
test-all: lint tests

tests: $(DEV_STAMP) servers browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(SLOW)

# Lines and branches that the tests reach, of the parts that pyproject.toml names.
coverage: $(DEV_STAMP) servers
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "unit or source or server" --cov --cov-report=term

lint: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The real servers that the tests talk to, unpacked below .cache; without them those tests skip.
servers: | $(VENV)
	$(BIN)/python tests/servers/install.py

# The browser that the tests look at pages with, and what PDFs are drawn with.
browser: $(DEV_STAMP)
	$(BIN)/python tests/browser/install.py

# The sample bundles, recorded from a real Prometheus: of the simulated cluster, and of real agents.
sample: $(DEV_STAMP) servers
	$(BIN)/python -m data.record
	$(BIN)/python -m data.record_real

# The whole command on every version, server and scrape style; takes half an hour.
sweep: $(DEV_STAMP) servers
	$(BIN)/python -m tests.sweep

bench: $(DEV_STAMP) servers
	$(BIN)/python -m tests.benchmarks

# The site, without a network: what it cannot resolve is an error.
docs: $(DEV_STAMP)
	$(BIN)/python -m sphinx --jobs 2 --quiet --fail-on-warning --keep-going docs docs/_build/html

# How well incidents are found whose cause is known: half an hour, and minutes when asked again.
incidents: $(DEV_STAMP) servers
	$(BIN)/python -m tests.benchmarks.incidents

$(VENV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	# The pip that comes with Python 3.11 takes twice as long to resolve.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

# Every version and its hash, for all Pythons and systems: locks/ says what is installed.
$(STAMP): locks/run.txt pyproject.toml | $(VENV)
	$(INSTALL) --require-hashes --requirement locks/run.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(COMPILE)
	touch $@

$(DEV_STAMP): locks/dev.txt pyproject.toml | $(VENV)
	$(INSTALL) --require-hashes --requirement locks/dev.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(COMPILE)
	touch $@ $(STAMP)

# Take the newest versions that pyproject.toml allows.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header \
	--no-annotate --no-emit-index-url --generate-hashes pyproject.toml locks/build.in
lock: $(DEV_STAMP)
	$(LOCK) --extra dev --extra bench --extra docs --output-file locks/dev.txt
	$(LOCK) --constraints locks/dev.txt --output-file locks/run.txt
	$(LOCK) --constraints locks/dev.txt $(IMAGE:%=--extra %) --output-file locks/image.txt
	$(LOCK) --constraints locks/dev.txt --extra lab --extra kubernetes locks/lab.in \
		--output-file locks/lab.txt

# The wheel, tried in an empty environment, away from the checkout.
wheel: $(DEV_STAMP)
	rm -rf dist
	$(BIN)/python -m hatchling build --target wheel
	$(BIN)/python tests/installed.py dist/*.whl

# Both images, and the sample's report in the first as a pod runs it, where there is a builder.
BUILDER ?= $(firstword $(foreach each,podman docker,$(shell $(each) info >/dev/null 2>&1 && echo $(each))))
images:
ifeq ($(BUILDER),)
	@echo "images not built: neither podman nor docker answers here"
else
	$(BUILDER) build --tag cilium-analysis .
	$(BUILDER) build --tag cilium-analysis-lab --file Containerfile.lab .
	$(BUILDER) run --rm --read-only --tmpfs /tmp --tmpfs /home/cilium-analysis --tmpfs /reports:uid=10001 \
		--cap-drop ALL --network none cilium-analysis demo --output /reports
endif

# Other Pythons (PYTHON=python3.13), and other versions of all packages: the newest (highest) or the
# oldest that pyproject.toml allows (lowest-direct).
RESOLUTION ?= highest
OTHER = .cache/other-$(notdir $(PYTHON))-$(RESOLUTION)
other:
	$(PYTHON) -m venv --clear $(OTHER)
	$(OTHER)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OTHER)/bin/uv pip install --quiet --python $(OTHER)/bin/python --resolution $(RESOLUTION) \
		--editable '.[dev,bench]'
	$(OTHER)/bin/python -m pytest -n 2 --dist loadfile -m "unit or source"

clean:
	rm -rf $(VENV) .cache docs/_build docs/_generated docs/gallery/*.ipynb reports .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
