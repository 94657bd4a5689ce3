#!/usr/bin/env bash
# The demo's fine-tuning in several layouts, by the recipe's launcher: every layout must reach the losses of one rank, and where the
# sums are the same (data parallelism, pipeline), the same weights bit for bit.
# usage: tools/ranks.sh SmolLM2-135M-Instruct.gguf [steps]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
gguf=$(realpath "$1")
steps=${2:-4}
export PATH=$root/build/release/bin:$PATH
out=$root/build/ranks
data=$root/examples/demo
rm -rf "$out"
mkdir -p "$out"
cd "$out"
alpaca_converter --data_path "$data/llama_voice.json" --output_path conversation.json
llama_preprocess --dataset_type qa --input_glob conversation.json --model_file "$gguf" --pad_token '<|endoftext|>' --seq_length 128 \
  --output_file voice.mindrecord >/dev/null

train() { # name ranks flags...
  local name=$1 ranks=$2
  shift 2
  mkdir "$name"
  (cd "$name" && msrun_launcher.sh "run_llama3.py --config $data/ranks.yaml --load_checkpoint $gguf --train_data $out/voice.mindrecord \
    --max_steps $steps $*" "$ranks" 8118 logs True 600 >launcher.log) ||
    { cat "$name/launcher.log" "$name"/logs/*.log | tail -n 20 >&2; exit 1; }
  grep -ho 'loss: *[0-9.]*\|loss:\[[0-9.]*' "$name/logs/worker_0.log" | tr -dc '0-9.\n' >"$name/losses"
  cria convert --input "$name/output/checkpoint/rank_0/native/step-$(printf %010d "$steps")" --output "$name/hf" >/dev/null
  echo "$name: losses $(tr '\n' ' ' <"$name/losses")"
}
same_losses() { # name, tolerance
  paste one/losses "$1/losses" | awk -v t="$2" '{ d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || d > t) bad = 1 } END { exit bad || NR == 0 }' ||
    { echo "ranks: $1 has other losses than one rank" >&2; exit 1; }
}
same_bits() {
  cmp one/hf/model.safetensors "$1/hf/model.safetensors" || { echo "ranks: $1 has other weights than one rank" >&2; exit 1; }
}

train one 1 --use_parallel False --runner_config.gradient_accumulation_steps 2
train dp2 2 --dp 2
same_losses dp2 0 && same_bits dp2
train pp2 2 --pp 2 --micro_batch_num 2
same_losses pp2 0 && same_bits pp2
train tp3 3 --mp 3 --runner_config.gradient_accumulation_steps 2
same_losses tp3 0.002
echo "ranks: dp 2 and pp 2 give one rank's weights bit for bit, tp 3 its losses"
