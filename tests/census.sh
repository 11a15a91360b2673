#!/bin/sh
# From a CSV to metrics: converts FILE, trains three seeds, measures the best checkpoint of each on the test rows.
# usage: census.sh PROGRAM FILE
set -eu
cd "$(dirname "$0")/.."
program=$1
file=${2:?name the file: make census CENSUS=census-income.test.gz}
config=configs/census_income.yaml
runs=runs/census_income
# The model is small: more threads are hardly faster, and one gives the same numbers everywhere.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

[ -d $runs/data ] || "$program" convert --mapping=configs/census_income.mapping.yaml --inputs="$file"
for seed in 0 1 2; do
  run=$runs/seed_$seed
  "$program" --config_path=$config --set training.seed=$seed --set training.save_dir=$run
  "$program" --config_path=$config evaluate --partition=test --checkpoint=$run/best \
    --output=$run/test.json --plot=$run/test.svg | tee $run/test.txt
done
awk '/^(income_50k|never_married) / { sum[$1] += $8; seeds[$1]++ }
  END { for (task in sum) printf "%s: mean test AUROC of %d seeds %.4f\n", task, seeds[task], sum[task] / seeds[task] }' \
  $runs/seed_*/test.txt | sort
