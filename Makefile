# Everything a newcomer and CI run. `make` alone lists it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up down reset status test trial check format loadtest bench faults

BIN := .venv/bin
# Made last, so an interrupted install is never taken for a whole one.
READY := .venv/.complete
# Where the API of `make up` is; recipes ask when they run.
API = $$($(BIN)/python -m cli address)

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

up: $(READY) ## start everything on this machine, send a few readings, print the addresses
	@$(BIN)/python -m cli up

down: ## drain and stop everything, keep the data
	@$(call where_something_runs,down)

reset: ## stop everything and remove all data
	@$(call where_something_runs,reset)

status: $(READY) ## show what runs and where its log is
	@$(BIN)/python -m cli status

test: $(READY) ## run every test, with a private PostgreSQL and RabbitMQ
	@$(BIN)/python -m pytest

trial: $(READY) ## compare answers about real data with those that are expected; data=FOLDER says where it is
	@$(BIN)/python -m pytest tests/trials/*.py $(if $(data),--data '$(data)')

check: $(READY) ## lint, formatting, types, architecture
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(READY) ## format the code and mend what ruff can mend
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

loadtest: $(READY) ## 50 users for half a minute against the running API
	@$(BIN)/locust -f loadtest/locustfile.py --headless -u 50 -r 50 -t 30s --host $(API) --only-summary

bench: $(READY) ## measure Weir beside its limits, on servers of its own: some twenty minutes, on a quiet machine
	@$(BIN)/python -m cli bench

faults: $(READY) ## break it in every way and prove that nothing is lost: hours; only=NAME for one, quick=1 for five minutes, resume=1 to go on
	@$(BIN)/python -m cli faults $(if $(only),--only $(only)) $(if $(quick),--quick) $(if $(resume),--resume) $(if $(runs),--runs $(runs)) \
		$(if $(seed),--seed $(seed)) $(if $(json),--json)

# A clone where nothing was ever started needs no install to stop nothing, and one that runs is stopped as it is.
where_something_runs = if [ ! -e .weir ]; then echo "Nothing was started here."; exit 0; fi; \
	[ -e $(READY) ] || $(MAKE) --no-print-directory -s $(READY) || exit 1; $(BIN)/python -m cli $(1)

# 3.11 first: the pinned packages are resolved for it. Debian keeps ensurepip in a package of its own.
usable_python = for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done

# Without the mark of a whole install the folder is made anew; with it, only what changed is installed.
$(READY): requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing into .venv; the first time this takes a minute or two."
	@[ -e $@ ] && exit 0; \
	python=$$($(usable_python)); \
	if [ -z "$$python" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		(apt-get install -y python3-venv || { apt-get update && apt-get install -y python3-venv; }) >/dev/null 2>&1; \
		python=$$($(usable_python)); \
	fi; \
	if [ -z "$$python" ]; then \
		echo "weir: Python 3.11 or newer with its venv module is needed: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	rm -rf .venv && $$python -m venv .venv
	@rm -f $@
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt \
		&& $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e . \
		|| { echo "weir: the packages could not be installed; pip says why above" >&2; exit 1; }
	@touch $@
