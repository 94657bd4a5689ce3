#!/usr/bin/env bash
# Runs every fuzz target of a build folder for some seconds each, one per core; it fails when any finds something.
set -euo pipefail
build=$1 seconds=$2
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$build/corpus"
run_one() {
  local target=$1 name
  name=$(basename "$target")
  mkdir -p "$build/corpus/$name"
  local seeds=()
  [ -d "$root/tests/fuzz/seeds/$name" ] && seeds=("$root/tests/fuzz/seeds/$name")
  # Valid files that the project has anyway.
  case $name in
    fuzz_yaml) seeds+=("$root/configs/llama3") ;;
    fuzz_tokenizer_json) seeds+=("$root/tests/golden/tokenizer") ;;
  esac
  if ! "$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$build/corpus/$name-" "$build/corpus/$name" "${seeds[@]}" >"$build/$name.log" 2>&1; then
    echo "$name: FINDING"
    tail -n 40 "$build/$name.log"
    return 1
  fi
  echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$name.log") runs in $seconds s, no finding"
}
export -f run_one
export build seconds root
printf '%s\n' "$build"/tests/fuzz/fuzz_* | grep -v '\.' | xargs -P "$(nproc)" -I{} bash -c 'run_one {}'
