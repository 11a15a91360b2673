#!/bin/sh
# Kills a training at random moments, saves included, and compares it with one that was left alone: every byte of the
# tensor files must be equal. `make soak`; KILLS says how often, STEPS how long.
set -eu
cd "$(dirname "$0")/.."
program=$PWD/target/release/recap-train
kills=${KILLS:-20}
steps=${STEPS:-20000}
RUN_DIR=$(mktemp -d)
FIXTURES=$PWD/tests/fixtures
export RUN_DIR FIXTURES
trap 'rm -rf "$RUN_DIR"' EXIT

run() {
  "$program" --config_path="$FIXTURES/tiny/config.yaml" --set "training.save_dir=$RUN_DIR/$1" \
    --set "training.num_train_steps=$steps" --set training.checkpoint_every_n=7 --set training.checkpoint_max_to_keep=3 \
    --set training.gradient_accumulation=3 --set training.train_log_every_n=5000 "$2" "$3" >/dev/null 2>&1
}

"$program" --config_path="$FIXTURES/tiny/config.yaml" generate --n_examples=1000 --n_files=5 >/dev/null 2>&1
run whole --set train_data.map_num_parallel_calls=1
for kill in $(seq "$kills"); do
  run parts --set train_data.map_num_parallel_calls=3 &
  pid=$!
  # Between a tenth of a second and one second, from the system's random numbers.
  hundredths=$(($(od -An -N2 -tu2 /dev/urandom) % 100 + 10))
  sleep "$((hundredths / 100)).$(printf '%02d' $((hundredths % 100)))"
  pkill -KILL -P "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  at=$(ls "$RUN_DIR/parts" | grep -E '^[0-9]+$' | sort -n | tail -n 1)
  printf 'kill %s: newest checkpoint %s%s\n' "$kill" "${at:-none}" "$(ls -A "$RUN_DIR/parts" | grep -q writing && echo ', in the middle of a save')"
done
run parts --set train_data.map_num_parallel_calls=2
for file in model.safetensors optimizer.safetensors; do
  cmp "$RUN_DIR/whole/$steps/$file" "$RUN_DIR/parts/$steps/$file"
done
echo "equal in every byte after $kills kills"
# Accidents of ranks at every phase of a run: all ranks end in time and name the one.
RECAP_ACCIDENTS=${ACCIDENTS:-100} cargo test --locked --test integration -- \
  distributed_promises::an_accident_at_any_phase_ends_all_ranks_and_names_the_one
