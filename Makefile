# Two commands: `make demo` and `make test`. Each is enough on a fresh Debian 12 machine.
.PHONY: demo data test test-long core setup configure build parity tidy format clean help

CTEST = ctest --output-on-failure --no-tests=error

help:
	@echo "make demo    build, price a real language model for three groups, write a report"
	@echo "make data    fetch and convert the data of the larger studies (data/)"
	@echo "make test    build and run the tests"
	@echo "make test-long  and the same soaks over more games"
	@echo "make core    build and test without LibTorch"
	@echo "make parity  make the goldens in tests/golden anew from the reference packages"
	@echo "make tidy    clang-format and clang-tidy on the files that differ from origin/main"

setup:
	@tools/setup.sh full

configure: setup
	@cmake --preset full >build-full.log 2>&1 || (cat build-full.log; exit 1)
	@rm -f build-full.log

build: configure
	@cmake --build build/full

# The two programs alone: no test, benchmark or fuzz target.
demo: configure
	@cmake --build build/full --target candor candor-worker
	@bin/candor run examples/quickstart.yaml --out runs/quickstart --resume
	@echo "The report: runs/quickstart/report.html"

data: setup
	@tools/make_data.sh

test: build
	@$(CTEST) --test-dir build/full -LE long

test-long: test
	@$(CTEST) --test-dir build/full -L long

core:
	@tools/setup.sh core
	@cmake --preset core >/dev/null
	@cmake --build build/core
	@$(CTEST) --test-dir build/core -LE "model|slow|long"

parity: build
	@tools/make_goldens.sh

tidy:
	@tools/tidy.sh

format:
	@git ls-files -co --exclude-standard '*.h' '*.cc' | xargs clang-format -i

clean:
	@rm -rf build bin
