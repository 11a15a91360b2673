#!/bin/sh
# Does the config that convert writes learn? Makes tables of different size and kind, trains each as it is written, and
# prints test AUROC beside logistic regression's and gradient boosting's.
# usage: tables.sh PROGRAM [TABLE…]   (RECAP_PYTHON: a Python with scikit-learn and pandas; TABLES: the folder)
set -eu
cd "$(dirname "$0")/.."
program=$1
shift
python=${RECAP_PYTHON:-python3}
folder=${TABLES:-runs/tables}
"$python" tests/python/tables.py make "$folder" "$@"
[ $# -gt 0 ] || set -- $("$python" tests/python/tables.py names "$folder")
for table; do
  place=$folder/$table
  rm -rf "$place/data" "$place/test.json"
  begin=$(date +%s)
  "$program" convert --mapping="$place/mapping.yaml" --inputs="$place/table.csv" --output_dir="$place/data" \
    >"$place/log.txt" 2>&1
  "$program" --config_path="$place/data/config.yaml" >>"$place/log.txt" 2>&1
  "$program" --config_path="$place/data/config.yaml" evaluate --partition=test --output="$place/test.json" \
    >>"$place/log.txt" 2>&1
  echo "$table: $(($(date +%s) - begin)) s"
done
"$python" tests/python/tables.py report "$folder"
