# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# The one door to the project. `make` alone prints what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
RUN := tools/run

.PHONY: help
help: ## Print this text
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 } /^## / { print "\n" substr($$0, 4) }' $(MAKEFILE_LIST)

## Set-up
.PHONY: venv deps artifact
venv: ## The virtual environment (.cache/venv) with the newest Python that is found
	@tools/bootstrap

deps: venv ## The collections that galaxy.yml and the tests name (.cache/collections)
	@$(RUN) python tools/deps.py

artifact: deps ## The collection's tarball, as Galaxy would get it
	@mkdir -p .cache/artifact
	@$(RUN) ansible-galaxy collection build --force --output-path .cache/artifact "$$(tools/tree artifact)"

## The virtual rack (LAB=FILE: another rack, made from a file of the lab role's variables)
.PHONY: demo demo-clean lab lab-clean verify logs
demo: deps ## From nothing to an instance that answers, in a virtual rack on this machine
	@$(RUN) python tools/demo.py up $(if $(LAB),--lab $(LAB))

demo-clean: venv ## Remove the demo and its rack (PURGE=1: the packages that it installed, too)
	@$(RUN) python tools/demo.py clean $(if $(PURGE),--purge)

lab: deps ## Only the rack: machines that are switched off, their BMCs and a seed's host
	@$(RUN) python tools/demo.py lab $(if $(LAB),--lab $(LAB))

lab-clean: demo-clean ## Remove the rack

verify: deps ## The proof again: an instance that answers on its floating IP
	@$(RUN) python tools/demo.py verify

logs: venv ## One tarball with what is needed to find a fault
	@$(RUN) python tools/demo.py logs

## Tests
.PHONY: test test-quick test-all lint sanity importer unit integration validate molecule e2e machines e2e-aio bench bench-all
test: ## Every test that fits into 75 minutes: also the rack from power-off to an instance, and roles in containers
	@tools/test all

test-quick: ## Lint and unit tests; for every step (under 3 minutes)
	@tools/test quick

test-all: ## All there is, also what takes hours: one node in both roles, ramdisk and image alone, the benchmarks
	@tools/test everything

lint sanity importer unit integration validate molecule e2e: ## One part of `make test`
	@tools/test $@

machines e2e-aio bench-all: ## One part of `make test-all` (machines: after `make e2e` or `make demo`, whose images it boots)
	@tools/test $@

bench: ## The benchmarks (tests/bench), figures beside their targets; those of the rack after `make demo`
	@tools/test $@
