# libvdb: two commands are enough. `make demo` shows it, `make test` proves it.

CARGO   ?= cargo
CC      ?= cc
RELEASE := target/release
OUT     := target/demo
WARN    := -std=c99 -Wall -Wextra -Wpedantic -Werror

.PHONY: demo test check lib header bench figures growth compare golden clean need-rust need-cc need-go \
        test-rust test-c test-cpp test-go test-neon

demo: need-rust need-cc lib
	@mkdir -p $(OUT)
	$(RELEASE)/vdb build demo/data/base.f16.npy $(OUT)/words.vdb --metric cosine --replace
	$(CC) $(WARN) -O2 demo/words.c -o $(OUT)/words -Iinclude -L$(RELEASE) -lvdb -lm -Wl,-rpath,$(abspath $(RELEASE))
	$(OUT)/words $(OUT)/words.vdb demo/data

lib: need-rust
	$(CARGO) build --release

test: test-rust test-c test-cpp test-go

test-rust: need-rust
	$(CARGO) test --workspace --quiet

test-c: need-cc lib
	tests/c/run.sh $(abspath $(RELEASE))

test-cpp: need-cc lib
	bindings/cpp/test.sh $(abspath $(RELEASE))

test-go: need-go lib
	bindings/go/test.sh $(abspath $(RELEASE))

# NEON kernels under emulation; says what to install where a tool is missing.
test-neon: need-rust
	tests/neon.sh

# Before every commit: two minutes.
check: need-rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	$(CARGO) test --workspace --quiet --lib --test it --test limits

bench: need-rust
	$(CARGO) bench --bench kernels
	$(CARGO) bench --bench speed_bench

# Recall, cost and memory of any sets: make figures SETS="DIR..." ROWS=1000000 DIM=1024
figures: need-rust lib
	ROWS=$(ROWS) DIM=$(or $(DIM),1024) benches/figures.sh $(SETS)

# How time and memory grow with the rows: make growth ROWS="100000 1000000" DIM=512 DIFFICULTY=hard
growth: need-rust lib
	benches/growth.sh $(or $(DIM),512) $(or $(DIFFICULTY),typical) $(or $(ROWS),100000 1000000)

# Beside other libraries at equal recall: make compare SETS="DIR... gen:typical:100000:1024" PEERS="libvdb,faiss-*"
compare: need-rust lib
	benches/compare/run.sh $(SETS) $(if $(PEERS),--peers "$(PEERS)")

header: need-rust
	VDB_WRITE_HEADER=1 $(CARGO) test --quiet --test it header

# An index of the current format, for tests of later ones; never over one that is committed.
golden: need-rust
	VDB_WRITE_GOLDEN=1 $(CARGO) test --quiet --test it golden::an_index

clean:
	$(CARGO) clean

need-rust:
	@command -v $(CARGO) >/dev/null || { echo "Rust 1.89 or newer is needed: rustup, or on Debian: apt-get install cargo-web rustc-web"; exit 1; }

need-cc:
	@command -v $(CC) >/dev/null || { echo "A C and a C++ compiler are needed: apt-get install gcc g++, or dnf install gcc gcc-c++"; exit 1; }

need-go:
	@command -v go >/dev/null || { echo "Go 1.24 or newer is needed for the Go binding's tests: https://go.dev/dl"; exit 1; }
