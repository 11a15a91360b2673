# make train: build, make random data if there is none, train the production shape for ten steps
# make test:  every test
# make bench: speed, side by side with a Python peer
# make bench-gpu: the step on a GPU, side by side with PyTorch's; PYTHON names one with torch for CUDA
# make census: from a CSV to metrics on real data, CENSUS=census-income.test.gz
# make tables: configs as convert writes them beside scikit-learn on tables of many kinds; RECAP_PYTHON names a Python
# make soak:  kills trainings and ranks at random moments, fails one at every system call, and watches one for 30 minutes
# make fuzz:  TIME seconds (600) of hostile bytes at each reader of bytes from outside
# Everything that is missing (libtorch) is fetched once into the user's cache; export LIBTORCH to use your own.

CONFIG ?= configs/local_prod.yaml
DATA   ?= runs/random_data
ARGS   ?=
TIME   ?= 600
CENSUS ?=
BIN    := target/release/recap-train

.PHONY: train test build libtorch bench bench-gpu census tables soak fuzz check help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/  make/p' Makefile

libtorch:
	@sh .cargo/libtorch.sh

build: libtorch
	RECAP_COMMIT="$$(git describe --always --dirty 2>/dev/null || echo unknown)" cargo build --release --locked

train: build
	@ls $(DATA)/*.gz >/dev/null 2>&1 || $(BIN) --config_path=$(CONFIG) generate --n_examples=4096 --n_files=4
	$(BIN) --config_path=$(CONFIG) $(ARGS)

test: libtorch
	cargo test --locked

bench: libtorch
	sh tests/bench/run.sh

bench-gpu:
	sh tests/bench/run_gpu.sh

census: build
	sh tests/census.sh $(BIN) $(CENSUS)

tables: build
	sh tests/tables.sh $(BIN)

soak: build
	RECAP_SWEEP=all RECAP_KILLS=200 RECAP_ACCIDENTS=100 cargo test --release --locked --test integration -- \
		--test-threads=1 --nocapture sweep:: kills:: distributed_accidents::
	sh tests/soak.sh

check: libtorch
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

# Without a sanitizer, which stable Rust lacks: there is no unsafe code to watch. What crashes is kept in artifacts.
fuzz:
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	@set -e; export RUSTC_BOOTSTRAP=1; cd tests/fuzz; \
	for target in $$(cargo fuzz list --fuzz-dir .); do \
		mkdir -p corpus/$$target seeds/$$target; \
		cargo fuzz run --fuzz-dir . --sanitizer none $$target corpus/$$target seeds/$$target -- \
			-max_total_time=$(TIME) -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1; \
	done
