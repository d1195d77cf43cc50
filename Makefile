# SPDX-License-Identifier: GPL-3.0-or-later
.PHONY: help execution-environment setup setup-demo setup-sanity setup-docs sanity docs-site matrix setup-molecule molecule molecule-ci demo test unit golden golden-update netns netns-full mutants day2-table faults-table tested bench bench-page lint docs build clean
SHELL := /bin/sh
BIN := .venv/bin
# Labs are namespaces, which need root.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PYTEST := $(BIN)/python -m pytest
# It prints a table, and works on several labs side by side itself.
FAULTS := tests/netns/test_controller_faults.py
PLAYBOOK := $(SUDO) $(BIN)/ansible-playbook -i inventory/lab

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { line = sprintf("%-21s", $$1); count = split($$2, word, " "); \
	  for (i = 1; i <= count; i++) { \
	    if (length(line " " word[i]) > 80) { print line; line = sprintf("%-21s", "") } \
	    line = line " " word[i] } \
	  print line }' $(MAKEFILE_LIST)

demo: setup-demo ## The main job on five embedded nodes: build, converge, verify, report
	@$(PLAYBOOK) podnet.fabric.lab_up
	@$(PLAYBOOK) podnet.fabric.site
	@# What root's run has left is the user's, who goes on with fleets of their own.
	@[ -z "$(SUDO)" ] || $(SUDO) chown -R "$$(id -u):$$(id -g)" .podnet intended report
	@echo "The report: $(CURDIR)/report/report.html"

test: lint unit golden netns molecule-ci ## Everything that can be tested on this machine (what CI runs)

lint: setup ## ruff, mypy, ansible-lint, yamllint, shellcheck, documents in step with the schema
	@tools/lint

unit: setup ## Pure code, no root
	$(PYTEST) -q -n 2 tests/unit

golden: setup ## Inventories against the definitions and error texts that are kept
	$(PYTEST) -q tests/golden

golden-update: setup ## Write the golden files anew; read the diff
	$(PYTEST) -q tests/golden --update
	git diff --stat tests/golden

netns: setup ## Real kernel, real SSH, real CNI plugins in namespaces; root
	$(SUDO) $(PYTEST) -q -n 3 --dist loadfile --durations=12 tests/netns --deselect $(FAULTS)
	$(SUDO) $(PYTEST) -q $(FAULTS)

netns-full: setup ## The same with every point at which faults are injected; root
	$(SUDO) PODNET_FULL=1 $(PYTEST) -q -n 3 --dist loadfile --durations=12 tests/netns --deselect $(FAULTS)
	$(SUDO) PODNET_FULL=1 $(PYTEST) -q $(FAULTS)

sanity: setup-sanity ## The built archive: galaxy-importer, ansible-test sanity and units
	@.ansible/venvs/sanity/bin/python tools/sanity

execution-environment: setup-sanity ## What ansible-builder makes of the archive, up to the image's context
	@.ansible/venvs/sanity/bin/python tools/sanity environment

docs-site: setup-docs ## Guides and every module, plugin and role as HTML, in .site/html
	@.ansible/venvs/docs/bin/python tools/docs-site

matrix: setup ## Unit and golden tests on each ansible-core, on the Pythons of this machine
	@$(BIN)/python tools/matrix

mutants: setup ## Break each promise on purpose in a copy, and see its test fail; root
	$(SUDO) $(BIN)/python tools/mutants

molecule: setup-molecule ## All scenarios on nodes that boot systemd, or one: S=day2_cidr; NODES=containers; root
	$(SUDO) PATH="$(CURDIR)/$(BIN):$$PATH" tools/scenarios $(S)

molecule-ci: setup-molecule ## The two scenarios that say most, default and day2_cidr; root
	$(SUDO) PATH="$(CURDIR)/$(BIN):$$PATH" tools/scenarios default day2_cidr

# What says on which hosts podnet was tested, beside molecule's scenarios.
HOSTS := tests/netns/test_containerd.py tests/netns/test_podman.py tests/netns/test_coexist.py
tested: setup-molecule ## What the README's table calls tested, on Debian 12 and 13; writes it; root
	for d in debian12 debian13; do \
	  root=$$($(SUDO) tools/rootfs $$d) && \
	  $(SUDO) PODNET_WRITE_DOCS=1 PODNET_LAB_ROOTFS=$$root $(PYTEST) -q $(HOSTS) && \
	  $(SUDO) PODNET_WRITE_DOCS=1 DISTRO=$$d PATH="$(CURDIR)/$(BIN):$$PATH" tools/scenarios || exit 1; \
	done

day2-table: setup ## Every change of a live fleet under the loss meter, into docs/day2.md; root
	$(SUDO) PODNET_WRITE_DOCS=1 $(PYTEST) -q tests/netns/test_day2_changes.py

faults-table: setup ## The catalogue of faults, into docs/verification.md; root
	$(SUDO) PODNET_WRITE_DOCS=1 PODNET_FULL=1 $(PYTEST) -q tests/netns/test_faults_catalogue.py tests/netns/test_faults_bgp.py

T := fleet
bench: setup-bench ## One topic of tests/bench/ into docs/performance.md: T=fleet ROUNDS=5 N="5 10 25 50"; root
	$(SUDO) $(BIN)/python tests/bench/bench_$(T).py
	$(BIN)/python tests/bench/page.py

bench-page: setup-bench ## docs/performance.md and its plots, from the results that are there
	$(BIN)/python tests/bench/page.py

docs: setup ## Write the tables that come from the schema and from the roles
	$(BIN)/python tools/datamodel.py
	$(BIN)/python tools/roles.py

build: setup ## The collection's archive
	$(BIN)/ansible-galaxy collection build --force

clean: ## Take down the labs and remove everything that the targets made
	@tools/clean

setup:
	@tools/setup test

setup-molecule:
	@tools/setup molecule

setup-bench:
	@tools/setup bench

setup-docs:
	@tools/setup docs

setup-sanity:
	@tools/setup sanity

setup-demo:
	@tools/setup demo
