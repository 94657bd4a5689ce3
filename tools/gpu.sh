#!/usr/bin/env bash
# A GPU, in ten minutes: the tests on it, then its peaks, prompts, decoding and training steps of 1B and 8B shapes. What has passed
# before is not run again, so it can be called several times.
# usage: tools/gpu.sh PROGRAMS OUT [part...]      PROGRAMS: the folder of cria, ops_gpu_test and libcria_cuda.so
#
# Each part leaves OUT/<part>.log or OUT/<part>.json; tools/gpu_table.py makes the tables of docs/performance.md from them.
set -euo pipefail
programs=$(realpath "$1") out=$2
shift 2
mkdir -p "$out"
export LD_LIBRARY_PATH=$programs/lib:/usr/local/cuda/lib64:/usr/local/cuda/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

bench() { "$programs/cria" bench --device cuda --json "$@"; }
part_tests() { "$programs/ops_gpu_test" --gtest_brief=1; }
part_peaks() { bench --what peaks; }
part_1b_train_4096() { bench --random 1b --what train --prompt 4096 --repeat 4; }
part_8b_decode_bf16() { bench --random 8b --what prefill,decode --prompt 2048 --tokens 64 --repeat 4; }
part_8b_decode_q8_0() { bench --random 8b --what prefill,decode --prompt 2048 --tokens 64 --repeat 4 --weights q8_0; }
part_8b_decode_int4_g128() { bench --random 8b --what prefill,decode --prompt 2048 --tokens 64 --repeat 4 --weights int4_g128; }
part_8b_decode_int4_g128_no_graphs() { CRIA_CUDA_GRAPHS=0 part_8b_decode_int4_g128; }
part_8b_train_8192() { bench --random 8b --what train --prompt 8192 --repeat 3 --storage bf16 --recompute; }
part_8b_train_8192_timed() { CRIA_CUDA_ALGORITHMS=$out/algorithms part_8b_train_8192; }
part_8b_train_4096() { bench --random 8b --what train --prompt 4096 --repeat 3 --storage bf16 --recompute; }
part_1b_train_8192() { bench --random 1b --what train --prompt 8192 --repeat 4; }
part_8b_batch_16() { bench --random 8b --what decode --tokens 64 --batch 16 --repeat 3 --weights int4_g128; }

# The most telling first.
all=(tests peaks 8b_decode_bf16 8b_decode_int4_g128 1b_train_4096 8b_train_8192 8b_train_8192_timed 8b_decode_q8_0 8b_decode_int4_g128_no_graphs 1b_train_8192
  8b_train_4096 8b_batch_16)
[ $# -gt 0 ] || set -- "${all[@]}"
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm --format=csv,noheader \
  >"$out/card.txt" || true
failed=0
for part in "$@"; do
  declare -F "part_$part" >/dev/null || { echo "gpu: no part '$part', expected ${all[*]}" >&2; exit 2; }
  file=$out/$part.json
  [ "$part" = tests ] && file=$out/$part.log
  if [ -s "$file" ]; then
    echo "$part: done before"
    continue
  fi
  started=$SECONDS
  # A part that fails leaves its words in <part>.failed, and the others run.
  if "part_$part" >"$file.part" 2>"$out/$part.err"; then
    mv "$file.part" "$file"
    rm -f "$out/$part.failed"
    # Without a GPU the tests say so and succeed.
    if [ "$part" = tests ] && grep -q '^no CUDA device: ' "$file"; then
      grep '^no CUDA device: ' "$file"
      rm "$file" "$out/$part.err"
      exit 1
    fi
    echo "$part: $((SECONDS - started)) s"
  else
    cat "$file.part" "$out/$part.err" >"$out/$part.failed"
    rm -f "$file.part"
    failed=1
    echo "$part: FAILED after $((SECONDS - started)) s"
    tail -n 5 "$out/$part.failed"
  fi
  rm -f "$out/$part.err"
done
exit $failed
