#!/bin/sh
# Small steps with frequent saves and evaluations for a long time: memory, threads and descriptors stay what they are
# soon after the start, and the files are those that the config asks for. `make soak`; MINUTES says how long.
set -eu
cd "$(dirname "$0")/.."
program=${PROGRAM:-$PWD/target/release/recap-train}
minutes=${MINUTES:-30}
RUN_DIR=$(mktemp -d)
FIXTURES=$PWD/tests/fixtures
export RUN_DIR FIXTURES
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$RUN_DIR"' EXIT

# The training data is the partition to evaluate on.
sed 's/^train_data:/train_data: \&data/; s/^validation_data: {}/validation_data:\n  valid: {<<: *data, global_batch_size: 32}/' \
  tests/fixtures/tiny/config.yaml >"$RUN_DIR/config.yaml"
"$program" --config_path="$RUN_DIR/config.yaml" generate --n_examples=1000 --n_files=5 >/dev/null 2>&1
"$program" --config_path="$RUN_DIR/config.yaml" --set training.num_train_steps=1000000000 \
  --set training.checkpoint_every_n=20 --set training.checkpoint_max_to_keep=3 --set training.train_log_every_n=100 \
  --set training.evaluate=true --set training.eval_log_every_n=50 --set training.num_eval_steps=4 \
  --set training.keep_best_metric=valid/loss 2>"$RUN_DIR/log" &
pid=$!

resident() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }
threads() { awk '/^Threads/ { print $2 }' "/proc/$pid/status"; }
descriptors() { ls "/proc/$pid/fd" | wc -l; }
step() { grep -o '"global_step":[0-9]*' "$RUN_DIR/save/events.jsonl" | tail -n 1 | cut -d: -f2; }
least() { awk -v a="$1" -v b="$2" 'BEGIN { print (a == "" || b < a) ? b : a }'; }

# A save holds threads, files and memory for a moment: what leaks lifts the least that is seen. The first fifth is warming
# up; what it came to is the measure.
early_kb='' early_threads='' early_descriptors='' late_kb='' late_threads='' late_descriptors=''
for tenth in $(seq "$((minutes * 6))"); do
  sleep 10
  kb=$(resident) t=$(threads) d=$(descriptors)
  if [ "$tenth" -le "$((minutes * 6 / 5))" ]; then
    early_kb=$(least "$early_kb" "$kb") early_threads=$(least "$early_threads" "$t")
    early_descriptors=$(least "$early_descriptors" "$d")
  elif [ "$tenth" -gt "$((minutes * 6 * 4 / 5))" ]; then
    late_kb=$(least "$late_kb" "$kb") late_threads=$(least "$late_threads" "$t")
    late_descriptors=$(least "$late_descriptors" "$d")
  fi
  [ "$((tenth % 30))" -ne 0 ] ||
    printf '%s min: step %s, %s kB resident, %s threads, %s descriptors\n' "$((tenth / 6))" "$(step)" "$kb" "$t" "$d"
done
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
pid=
printf 'ended with %s; folder: %s\n' "$status" "$(ls "$RUN_DIR/save" | tr '\n' ' ')"
printf 'at least: resident %s kB, at the end %s; threads %s, at the end %s; descriptors %s, at the end %s\n' \
  "$early_kb" "$late_kb" "$early_threads" "$late_threads" "$early_descriptors" "$late_descriptors"
[ "$status" -eq 75 ]
[ "$(ls "$RUN_DIR/save" | grep -cE '^[0-9]+$')" -eq 3 ]
[ "$late_threads" -le "$early_threads" ]
[ "$late_descriptors" -le "$early_descriptors" ]
# 5 % is what an allocator moves by.
[ "$late_kb" -le "$((early_kb + early_kb / 20))" ]
echo "flat after $minutes minutes"
