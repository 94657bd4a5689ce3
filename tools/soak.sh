#!/usr/bin/env bash
# Ranks that are killed or stand still at random moments: the run must end in time with the right rank named, leave no process,
# and go on afterwards to the bits of a run that nothing happened to.
# usage: tools/soak.sh SmolLM2-135M-Instruct.gguf [kills] [stalls]      the GGUF is used for its vocabulary
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
gguf=$(realpath "$1")
kills=${2:-10} stalls=${3:-3}
export PATH=$root/build/release/bin:$PATH
out=$root/build/soak
ranks=2 steps=60 timeout=4
rm -rf "$out"
mkdir -p "$out"
cd "$out"
alpaca_converter --data_path "$root/examples/demo/llama_voice.json" --output_path conversation.json >/dev/null
llama_preprocess --dataset_type qa --input_glob conversation.json --model_file "$gguf" --pad_token '<|endoftext|>' --seq_length 128 \
  --output_file voice.mindrecord >/dev/null
# A small model with random weights: many steps and saves in a few seconds.
sed -e 's/save_checkpoint_steps: 1000/save_checkpoint_steps: 5/' -e 's/batch_size: 4/batch_size: 1/' "$root/examples/demo/ranks.yaml" >run.yaml
start() { # folder, flags...
  local folder=$1
  shift
  mkdir -p "$folder"
  (cd "$folder" && exec cria launch --nproc "$ranks" --log_dir logs --tee false -- run_llama3 --config "$out/run.yaml" \
    --train_data "$out/voice.mindrecord" --dp "$ranks" --max_steps "$steps" --step_timeout_s "$timeout" \
    --model.model_config.hidden_size 64 --model.model_config.intermediate_size 128 --model.model_config.num_layers 2 \
    --model.model_config.num_heads 4 --model.model_config.vocab_size 49152 "$@" >>launch.log 2>&1)
}
sums() { (cd "$1/output/checkpoint/rank_0/native/step-$(printf %010d "$steps")" && sha256sum -- *.safetensors); }
fail() {
  echo "soak: $*" >&2
  exit 1
}
now() { date +%s%3N; }

began=$(now)
start whole || fail "the undisturbed run failed: $(tail -n 1 whole/launch.log)"
length=$(($(now) - began))
sums whole >whole.sums

disturb() { # number, signal, most milliseconds until all is over, exit code, words that name the rank
  local name=$1-$2 victim=$((RANDOM % ranks)) pid t
  start "$name" &
  local launcher=$!
  until [ "$(grep -c 'runs on' "$name/logs/scheduler.log" 2>/dev/null)" = "$ranks" ]; do sleep 0.02; done
  sleep "$(awk -v r=$RANDOM -v l="$length" 'BEGIN { print r / 32768 * l * 0.6 / 1000 }')"
  pid=$(sed -n "s/.* rank $victim runs on .* as process \([0-9]*\)$/\1/p" "$name/logs/scheduler.log")
  t=$(now)
  if ! kill "-$2" "$pid" 2>/dev/null; then
    # The moment came after the end: another one.
    wait "$launcher" || fail "$name: the run failed by itself: $(tail -n 1 "$name/launch.log")"
    rm -rf "$name"
    disturb "$@"
    return
  fi
  local code=0
  wait "$launcher" || code=$?
  t=$(($(now) - t))
  [ "$code" = "$4" ] || fail "$name: exit code $code, expected $4: $(tail -n 1 "$name/launch.log")"
  [ "$t" -le "$3" ] || fail "$name: $t ms until all was over, expected at most $3"
  grep -q "rank $victim $5" "$name/launch.log" || fail "$name: rank $victim was not named: $(tail -n 1 "$name/launch.log")"
  [ -z "$(pgrep -f "$out/run.yaml" || true)" ] || fail "$name: processes are left"
  local resume=(--resume_training True)
  compgen -G "$name/output/checkpoint/rank_0/native/step-*/manifest.json" >/dev/null || resume=()
  start "$name" "${resume[@]}" || fail "$name: it does not go on: $(tail -n 1 "$name/launch.log")"
  sums "$name" | cmp -s - whole.sums || fail "$name: after going on, the weights or moments are others"
  echo "$name: rank $victim, over after $t ms, goes on to the same bits"
  rm -rf "$name"
}
for i in $(seq "$kills"); do disturb "$i" KILL 5000 6 "on .*was killed by SIGKILL"; done
for i in $(seq "$stalls"); do disturb "$i" STOP $((timeout * 1000 + 10000)) 7 "stalled"; done
echo "soak: $kills kills and $stalls stalls, all named, in time, and gone on bit for bit"
