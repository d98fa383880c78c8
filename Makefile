# Everything that a fresh machine with Python 3.11 or newer needs: make demo, make test.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin

.PHONY: demo test docs lint check clean lock

demo: .venv/installed
	$(BIN)/edgekd build --out edgekd-out/quickstart
	@echo "report: edgekd-out/quickstart/report.html   bundle: edgekd-out/quickstart/bundle/"

# MediaPipe pins other packages than ours: it has an environment of its own, and its test is skipped without one.
.venv-mediapipe/installed: Makefile
	test -x .venv-mediapipe/bin/python || $(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install --quiet --disable-pip-version-check mediapipe==1.2.2
	touch $@

test: lint .venv-mediapipe/installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "documentation: site/index.html; its search wants a server: $(BIN)/python -m http.server --directory site"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edgekd needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ..."; exit 3; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Rewrites the pinned dependencies; hashes without addresses, for every supported Python and platform.
lock: .venv/installed
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet -o requirements.lock

clean:
	rm -rf .venv .venv-mediapipe android_demo/*/target build dist site *.egg-info edgekd-out .pytest_cache .mypy_cache .ruff_cache
