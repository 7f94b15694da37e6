# The two commands: `make demo` (set up, run the main job, make a report) and `make test` (set up, run the tests).
.PHONY: demo test lint bench docs setup setup-dev clean

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
	.venv/bin/ruff check src tests bench tools
	.venv/bin/ruff format --check src tests bench tools
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup-dev
	.venv/bin/python -m bench $(BENCH)

docs: setup-dev
	.venv/bin/python -m earwitness.archive.dictionary > docs/data-dictionary.md

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/earwitness/speech/codecs/native_code/*.so
