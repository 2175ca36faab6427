# make run: the page, with the classifiers that ship.   make test: everything that can be checked.
# make test-oldest: the tests with the oldest versions that requirements.txt admits, in .venv-oldest.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)

.PHONY: run test test-oldest pytest lint browser nginx clean

run: $(VENV)/.installed
	$(BIN)/python app.py $(ARGS)

test: lint pytest

test-oldest:
	$(MAKE) pytest VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

pytest: browser nginx
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A browser for the tests: the one that is there, else Debian's, else Playwright's own; without one, no tests.
browser: $(VENV)/.installed-dev
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	|| { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	     && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	|| $(BIN)/python -m playwright install chromium \
	|| { echo "The tests need a Chromium: install the package chromium, or run '$(BIN)/python -m playwright install chromium'." >&2; exit 1; }

# A proxy for the tests of the page behind one: the one that is there, else Debian's; without one, no tests.
nginx:
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null \
	|| { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	     && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx >/dev/null; } \
	|| { echo "The tests need nginx: install the package nginx." >&2; exit 1; }

$(VENV)/.installed: requirements.txt $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest artefacts
