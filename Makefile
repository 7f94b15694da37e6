# The two commands: `make demo` (set up, run the main job, make a report) and `make test` (set up, run the tests).
.PHONY: demo test lint bench docs site setup setup-dev clean

OUT ?= earwitness-data
BENCH ?=

setup:
	@tools/setup

setup-dev:
	@tools/setup dev

demo: setup
	.venv/bin/earwitness demo --out $(OUT)

test: setup-dev
	@tools/test

lint: setup-dev
	.venv/bin/ruff check src tests testing bench tools
	.venv/bin/ruff format --check src tests testing bench tools
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup-dev
	.venv/bin/python -m bench $(BENCH)

docs: setup-dev
	.venv/bin/python -m earwitness.archive.dictionary > docs/data-dictionary.md

site:
	@test -x .venv-site/bin/zensical || { python3 -m venv .venv-site && \
		.venv-site/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements-site.lock; }
	.venv-site/bin/zensical build --clean

clean:
	rm -rf .venv .venv-site site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/earwitness/speech/codecs/native_code/*.so
