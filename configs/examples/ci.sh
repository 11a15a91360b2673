#!/bin/sh
# What a pipeline can hold before a config is merged: the machine is fit, the config is right, a step can be made and
# saved, and a short training can be interrupted at no cost. Takes a minute for the production shape.
#   PROGRAM=target/release/recap-train CONFIG=configs/local_prod.yaml sh configs/examples/ci.sh
set -eu
PROGRAM=${PROGRAM:-recap-train}
CONFIG=${CONFIG:-configs/local_prod.yaml}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

train() {
  "$PROGRAM" --config_path="$CONFIG" --log_format=json \
    --set "training.save_dir=$folder/run" --set "train_data.inputs=$folder/data/*.gz" \
    --set training.train_log_every_n=1 "$@" 2>>"$folder/log.jsonl"
}

"$PROGRAM" --config_path="$CONFIG" generate --n_examples=512 --n_files=2 --output_dir="$folder/data"
"$PROGRAM" --config_path="$CONFIG" --set "train_data.inputs=$folder/data/*.gz" --set "training.save_dir=$folder/run" doctor
"$PROGRAM" --config_path="$CONFIG" --set "train_data.inputs=$folder/data/*.gz" check --dry_run
train --set training.num_train_steps=2
# The second run goes on at step 2.
train --set training.num_train_steps=3
grep -q '"event":"resumed"' "$folder/log.jsonl"
grep -c '"event":"step"' "$folder/log.jsonl" | grep -qx 3
echo "the config trains, saves and resumes"
