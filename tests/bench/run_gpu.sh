#!/bin/sh
# The step on a GPU beside its PyTorch peers, at the batches and number formats that matter there, as Markdown tables.
# PYTHON names an interpreter with torch 2.11.0 for CUDA; its libtorch serves both. STEP_BENCH names the bench's
# executable where it is built already; else it is built here, against that libtorch.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
LIBTORCH=${LIBTORCH:-$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')}
export LIBTORCH
# For an executable that was built elsewhere.
export LD_LIBRARY_PATH="$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

if ! "$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then
  echo "PyTorch of $python finds no GPU" >&2
  exit 1
fi
step=${STEP_BENCH:-$(cargo build --release --locked --bench step --message-format=json |
  python3 -c 'import json, sys
for line in sys.stdin:
    record = json.loads(line)
    if record.get("executable") and record["target"]["name"] == "step":
        print(record["executable"])')}
"$python" -c 'import torch; print("machine:", torch.cuda.get_device_name(), "torch", torch.__version__)'
"$python" tests/bench/compare_steps.py --gpu --python "$python" --step-bench "$step" --batch 1024 4096 16384 \
  --precision f32 bf16 --compile-modes default max-autotune --steps 20 --rounds 5 ${STEP_ARGS:-}
