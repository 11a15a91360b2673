# make train: build, make random data if there is none, train the production shape for ten steps
# make test:  every test
# make bench: speed, side by side with a Python peer
# Everything that is missing (libtorch) is fetched once into the user's cache; export LIBTORCH to use your own.

CONFIG ?= configs/local_prod.yaml
DATA   ?= runs/random_data
ARGS   ?=
BIN    := target/release/recap-train

.PHONY: train test build libtorch check help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/  make/p' Makefile

libtorch:
	@sh .cargo/libtorch.sh

build: libtorch
	cargo build --release --locked

train: build
	@ls $(DATA)/*.gz >/dev/null 2>&1 || $(BIN) --config_path=$(CONFIG) generate --n_examples=4096 --n_files=4
	$(BIN) --config_path=$(CONFIG) $(ARGS)

test: libtorch
	cargo test --locked

check: libtorch
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked
