#!/bin/sh
# Runs every comparison with its Python peer, in turn on this machine, then two ranks, and prints Markdown tables.
# PYTHON names an interpreter that has torch 2.11.0 and tensorflow; without it one is made in the user's cache.
# STEP_ARGS, END_ARGS and LOADER_ARGS go to the three comparisons.
set -eu
cd "$(dirname "$0")/../.."
cache=${RECAP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/recap-train}
python=${PYTHON:-$cache/bench-python/bin/python}

if [ ! -x "$python" ]; then
  echo "making a Python with torch and tensorflow in $cache/bench-python (several GB, once)" >&2
  part=$(mktemp -d "$cache/part.XXXXXX")
  python3 -m venv "$part"
  "$part/bin/python" -m pip install --quiet torch==2.11.0 tensorflow-cpu numpy setuptools
  rm -rf "$cache/bench-python"
  # A venv names its own folder in its scripts, but python itself may move.
  mv "$part" "$cache/bench-python"
fi

# The executable that cargo builds for the bench $1.
bench() {
  cargo build --release --locked --bench "$1" --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    record = json.loads(line)
    if record.get("executable") and record["target"]["name"] == sys.argv[1]:
        print(record["executable"])' "$1"
}

cargo build --release --locked
echo "machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
"$python" tests/bench/compare_steps.py --python "$python" --step-bench "$(bench step)" \
  ${STEP_ARGS:---variant=--linear=mkl --variant=--spin}
python3 tests/bench/end_to_end.py --program target/release/recap-train ${END_ARGS:-}
"$python" tests/bench/compare_loaders.py --python "$python" --loader-bench "$(bench loader)" \
  --program target/release/recap-train ${LOADER_ARGS:-}
"$(bench ranks)" --batch 512 ${RANKS_ARGS:-}
cargo bench --locked --bench metrics -- ${METRICS_ARGS:-}
cargo bench --locked --bench predict -- ${PREDICT_ARGS:-}
