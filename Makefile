# make run: the page, with the classifiers that ship.   make test: everything that can be checked.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test lint browser clean

run: $(VENV)/.installed
	$(BIN)/python app.py $(ARGS)

test: lint browser
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

$(VENV)/.installed: requirements.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) artefacts
