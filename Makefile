# Two commands do everything: `make demo` and `make test`. Each makes .venv first where it is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv pins peers demo test test-fast coverage sanitize docs lint clean

# One thread for each of pytest's workers; more only get in each other's way. Three workers for two
# cores, since many tests wait for other processes.
TEST_THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

help:  ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 11

venv:  ## make or update .venv from the pinned requirements (PYTHON=... chooses the interpreter)
	@requirements/make_venv.sh

pins:  ## write the hashes of the pinned packages into requirements/ (needs uv)
	@python3 requirements/hashes.py

peers: venv  ## add the public code that tests and benchmarks compare with, where it is installed
	@.venv/bin/python -m pip install --require-hashes --no-deps -r requirements/peers.txt

# What a memory is for: pronouns whose gender an earlier sentence tells, in documents of few words.
DEMO_DOCUMENTS := --systems sentence,transformer-xl --contexts 0,all --jobs 2 \
    --documents 3000 --translated 0 --first-updates 500 --second-updates 1800 --unroll 1 \
    --runs-dir runs/demo --results-dir runs/demo/results

demo: venv  ## the whole job on the sample: data, training, decoding, scores, table and plot; documents
	@.venv/bin/python -m scripts.experiment demo
	@.venv/bin/python -m scripts.studies.documents $(DEMO_DOCUMENTS)

# A test that hangs is shown and ended, which fails it; none takes a tenth of that on two quiet cores.
HUNG := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

test: venv  ## all default tests (ARGS=... is passed to pytest)
	@$(TEST_THREADS) .venv/bin/python -m pytest -n 3 --dist worksteal $(HUNG) $(ARGS)

# What fails first when a building block is wrong: about 30 s of processor time, on two cores half of it.
FAST := tests/test_architecture.py tests/test_hygiene.py tests/fairseq_memtx/engine/test_sweeps.py \
    $(addprefix tests/fairseq_memtx/,ground compute decoding modules)
SLOWER := tests/fairseq_memtx/decoding/gpu tests/fairseq_memtx/modules/test_segment_attention.py

test-fast: venv  ## tests of the building blocks alone, in under a minute
	@$(TEST_THREADS) .venv/bin/python -m pytest -n 2 $(FAST) $(addprefix --ignore=,$(SLOWER)) $(ARGS)

coverage: venv  ## all default tests, with the lines they do not reach; pages in htmlcov/
	@$(TEST_THREADS) .venv/bin/python -m pytest -n 2 --cov --cov-report=term-missing:skip-covered \
	    --cov-report=html $(ARGS)

# The library that is tested is compiled with them, not Python, which leaks by design. The runtime of
# C++ must be there before Python loads it, or the first exception ends the process; what the
# sanitizers say at the end of a process is lost if pytest holds its standard error.
sanitize: venv  ## the native engine's tests with AddressSanitizer and UBSan (g++)
	@$(TEST_THREADS) CXX="g++ -g -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	    LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 .venv/bin/python -m pytest --capture=sys tests/fairseq_memtx/native $(ARGS)

docs: venv  ## the pages and a reference from the docstrings as a site in site/, links checked
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    -r requirements/docs.txt
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

lint: venv  ## style, formatting and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/clang-format --dry-run --Werror fairseq_memtx/native/src/*
	@.venv/bin/mypy

clean:  ## remove caches and build outputs; .venv, runs/ and results/ stay
	@rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
	@find . -path ./.venv -prune -o -path ./runs -prune -o -name __pycache__ -prune -exec rm -rf {} +
