#!/bin/sh
# Lays .libtorch, a link to libtorch in the user's cache, and fetches what is missing there.
# Nothing is done where LIBTORCH is exported: that one is used.
set -eu

torch=2.11.0
cuda_runtime=13.0.96
cuda_cupti=13.0.85

say() { printf 'libtorch: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

case "${LIBTORCH:-}" in
  "" | *.libtorch) ;;
  *)
    [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] ||
      die "LIBTORCH=$LIBTORCH holds no lib/libtorch_cpu.so: unset it, or name the torch folder of 'pip install torch==$torch'"
    exit 0 ;;
esac

here=$(cd "$(dirname "$0")/.." && pwd)
cache=${RECAP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/recap-train}
machine=$(uname -m)
kept=$cache/libtorch-$torch-$machine

# Takes from a wheel only what building and running need (540 MB of 1.2 GB).
unpack() {
  python3 - "$@" <<'PY'
import re, sys, zipfile
keep = re.compile(r"torch/include/|torch/lib/lib(torch_cpu|c10|torch)\.so$|torch/lib/libgomp[^/]*$|torch/version\.py$|nvidia/cu13/lib/")
target, *wheels = sys.argv[1:]
for wheel in wheels:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target, [name for name in archive.namelist() if keep.match(name)])
PY
}

# pip takes a platform to the letter, so every glibc up to the oldest supported one is named.
platforms() {
  for minor in 28 27 26 25 24 17; do printf -- '--platform manylinux_2_%s_%s ' "$minor" "$machine"; done
  printf -- '--platform manylinux2014_%s' "$machine"
}

fetch() {
  command -v python3 >/dev/null || die "python3 is needed to fetch libtorch (apt-get install python3 python3-pip)"
  python3 -m pip --version >/dev/null 2>&1 || die "pip is needed to fetch libtorch (apt-get install python3-pip)"
  mkdir -p "$cache" || die "cannot write the cache folder $cache: set RECAP_CACHE to one that can be written"
  part=$(mktemp -d "$cache/part.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  trap 'exit 130' INT TERM HUP
  say "fetching $torch into $kept (544 MB, once)"
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
    $(platforms) --dest "$part/wheels" \
    "torch==$torch" "nvidia-cuda-runtime==$cuda_runtime" "nvidia-cuda-cupti==$cuda_cupti" ||
    die "pip could not fetch torch $torch: see its message above, or export LIBTORCH"
  unpack "$part/tree" "$part"/wheels/*.whl
  [ -e "$part/tree/torch/lib/libtorch_cpu.so" ] || die "the torch wheel holds no lib/libtorch_cpu.so"
  # The rename publishes a whole tree or nothing; whoever comes second uses the first one's.
  mv -T "$part/tree" "$kept" 2>/dev/null || [ -e "$kept/torch/lib/libtorch_cpu.so" ] || die "cannot move the tree to $kept"
  say "ready"
}

[ -e "$kept/torch/lib/libtorch_cpu.so" ] || fetch
[ "$(readlink "$here/.libtorch" 2>/dev/null)" = "$kept/torch" ] || ln -sfn "$kept/torch" "$here/.libtorch"
