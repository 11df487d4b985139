# `make` lists the commands. `make demo` and `make test` do their own set-up, on Debian as root.

# The Python of .venv, and the versions that `make test` runs on where they are installed.
PYTHON = /usr/bin/python3
PYTHONS = 3.11 3.13

BIN = .venv/bin

# Where `make install` puts the program; with DESTDIR, where a package collects its files.
PREFIX = /usr/local
DESTDIR =

# Of `make release` (docs/releasing.md): what it makes, the base of the image, and what must have all wheels.
PARTS = deb image
BASE =
ARCHITECTURES = amd64 arm64

.PHONY: help root setup install uninstall demo test quick dist release soak lint mutate measure footprint docs screenshot lock clean
MAKEFLAGS += --no-print-directory

help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

setup:  ## install what is missing: Debian packages, .venv (a second time: nothing to do)
	@tools/setup .venv $(PYTHON)

root:
	@[ "$$(id -u)" = 0 ] || { echo "make: this needs root, for namespaces and a Docker engine: use sudo make" >&2; exit 1; }

install:  ## install this as a service of this machine (as root; docs/systemd.md), or bring that up to date
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PYTHON='$(PYTHON)' tools/install install

uninstall:  ## remove what install made, but for configuration, state and certificates
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' tools/install uninstall

demo: root setup  ## show the whole chain on this machine, on local stand-ins of Aliyun DNS and the CA
	@$(BIN)/certbotless sandbox

test: export FOR_TESTS = yes
test: root setup  ## run all tests, on every supported Python that is installed
	@tools/test $(PYTHONS)

quick: setup  ## check what can be checked in a minute, while you write: format, types, tests that start no program
	@tools/quick

dist: setup  ## build the wheel and the sdist in dist/; from the same commit they are the same to the byte
	@rm -rf dist
	@SOURCE_DATE_EPOCH="$${SOURCE_DATE_EPOCH-$$(git log -1 --format=%ct 2>/dev/null)}" $(BIN)/python -m build --no-isolation --outdir dist

release: export FOR_RELEASE = yes
release: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
release: root setup dist  ## build all files of a release in dist/: wheel, sdist, Debian package, image, SHA256SUMS
	@BIN='$(BIN)' BASE='$(BASE)' PYTHONS='$(PYTHONS)' ARCHITECTURES='$(ARCHITECTURES)' tools/release $(PARTS)

soak: export FOR_TESTS = yes
soak: export FOR_SOAK = yes
soak: root setup  ## run the tests that take minutes, properties with 2,000 examples, and print their figures
	@tools/worker elsewhere $(BIN)/python -m pytest -m 'soak or hypothesis' --hypothesis-profile soak -s

lint: setup  ## check format, rules and types
	@tools/lint

mutate: root setup  ## change the core in 100 places and more, and print what no test of the module notices
	@cd tests && ../$(BIN)/python -m certbotless.sandbox.host ../$(BIN)/python -m bench.mutate

measure: root setup  ## print the figures of docs/figures.md: times and CPU
	@cd tests && ../$(BIN)/python -m certbotless.sandbox.host ../$(BIN)/python -m bench.measure

footprint: root setup  ## print what the idle daemon costs, for 1, 100 and 1,000 sites
	@cd tests && ../$(BIN)/python -m certbotless.sandbox.host ../$(BIN)/python -m bench.footprint

docs: setup  ## write what is made from the code and the tests: config/schema.json, the man page, and parts of docs/
	@$(BIN)/python -m tools.docs.made .
	@$(BIN)/python tests/faults/matrix.py

screenshot: setup  ## make the pictures of the status page in docs/ (needs pngquant and the font Inter)
	@cd tests && ../$(BIN)/python -m bench.screenshot ../docs

lock:  ## pin the newest versions, with hashes: requirements.txt, and what of it an installation needs (needs uv)
	uv pip compile --quiet --universal --upgrade --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --all-extras --group dev pyproject.toml --output-file requirements.txt
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --extra completion --extra metrics --extra notify --group build --constraint requirements.txt \
		pyproject.toml --output-file requirements-install.txt

clean:  ## remove all that these commands made in this folder
	rm -rf .venv .venv-* dist .coverage .coverage.* .dmypy.json .hypothesis .mypy_cache .pytest_cache .ruff_cache
