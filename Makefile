# make train: build, make random data if there is none, train the production shape for ten steps
# make test:  every test
# make bench: speed, side by side with a Python peer
# make bench-gpu: the step on a GPU, side by side with PyTorch's; PYTHON names one with torch for CUDA
# make install: the program with its libtorch, man page and completions below PREFIX (/usr/local)
# make wheel: a wheel that pip installs beside torch==2.11.0, CPU or CUDA, in target/wheel
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
PREFIX ?= /usr/local
HOME_OF_LIBS = $(DESTDIR)$(PREFIX)/lib/recap-train
BIN    := target/release/recap-train

.PHONY: train test build libtorch install wheel bench bench-gpu census tables soak fuzz check help
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

# A libtorch of your own stays where it is; one of the cache is copied, for others may not read your home.
install: export RECAP_INSTALLED = 1
install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(HOME_OF_LIBS)/torch
	rm -rf $(HOME_OF_LIBS)/torch/lib $(HOME_OF_LIBS)/nvidia
ifdef LIBTORCH
	ln -s $(realpath $(LIBTORCH))/lib $(HOME_OF_LIBS)/torch/lib
else
	cp -rL .libtorch/lib $(HOME_OF_LIBS)/torch/lib
	cp -rL .libtorch/../nvidia $(HOME_OF_LIBS)/nvidia
	chmod -R a+rX $(HOME_OF_LIBS)
endif
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/recap-train
	set -e; share=$(DESTDIR)$(PREFIX)/share; program=$(DESTDIR)$(PREFIX)/bin/recap-train; \
	install -d $$share/man/man1 $$share/bash-completion/completions $$share/zsh/site-functions \
		$$share/fish/vendor_completions.d; \
	$$program man >$$share/man/man1/recap-train.1; \
	$$program completions bash >$$share/bash-completion/completions/recap-train; \
	$$program completions zsh >$$share/zsh/site-functions/_recap-train; \
	$$program completions fish >$$share/fish/vendor_completions.d/recap-train.fish

wheel: export RECAP_INSTALLED = 1
wheel: build
	python3 src/python/wheel.py $(BIN) target/wheel

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
