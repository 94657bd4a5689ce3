#!/usr/bin/env bash
# The main job on real input: SmolLM2-135M-Instruct learns to answer in a voice it lacks.
# usage: tools/demo.sh SmolLM2-135M-Instruct.gguf [--quick]
#   --quick: 6 steps instead of 20, and the run fails unless held-back perplexity at least halves.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
gguf=$(realpath "$1")
quick=${2:-}
export PATH=$root/build/release/bin:$PATH
out=$root/demo-output
data=$root/examples/demo
rm -rf "$out"
mkdir -p "$out"
cd "$out"
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() {
  printf '\033[2m$ %s\033[0m\n' "$*"
  "$@"
}

say "1. weights: GGUF (Q4_1 and Q8_0) to a MindSpore checkpoint"
run cria convert --input "$gguf" --output smollm2.ckpt --dtype bf16

say "2. data: Alpaca records to conversations to MindRecord"
for set in llama_voice llama_voice_held_back; do
  run alpaca_converter --data_path "$data/$set.json" --output_path "$set-conversation.json"
  run llama_preprocess --dataset_type qa --input_glob "$set-conversation.json" --model_file "$gguf" \
    --pad_token '<|endoftext|>' --seq_length 128 --output_file "$set.mindrecord"
done
run cria inspect llama_voice.mindrecord --row 0 --vocab_file "$gguf"

questions=("What is the capital of Norway?" "What do squirrels collect?" "How many players are in a football team?")
model_flags=(--config "$data/smollm2-135m.json" --vocab_file "$gguf")
ask() { # model
  for q in "${questions[@]}"; do
    printf '  \033[36m%s\033[0m\n  ' "$q"
    cria generate --model "$1" "${model_flags[@]}" --prompt "$q" --prompt_template alpaca --max_new_tokens 40 | head -n 4
  done
}
say "3. answers before"
ask smollm2.ckpt | tee before.txt

say "4. fine-tuning of all parameters"
steps=()
[ "$quick" = --quick ] && steps=(--max_steps 6)
run cria finetune --model smollm2.ckpt "${model_flags[@]}" --data llama_voice.mindrecord --eval_data llama_voice_held_back.mindrecord \
  --output tuned --seq_length 128 --batch_size 8 --epochs 1 --total_steps 20 --lr 2e-4 --warmup_steps 3 "${steps[@]}" | tee finetune.txt

say "5. answers after"
ask tuned/model | tee after.txt

say "6. for others: a Hugging Face folder (tuned/model) and a GGUF"
run cria convert --input tuned/model --output tuned/model.gguf

before=$(sed -n 's/^held-back perplexity before: \([0-9.]*\).*/\1/p' finetune.txt)
after=$(sed -n 's/^held-back perplexity after: \([0-9.]*\).*/\1/p' finetune.txt)
say "held-back perplexity $before -> $after; loss plot: demo-output/tuned/loss.svg"
if [ "$quick" = --quick ]; then
  awk -v b="$before" -v a="$after" 'BEGIN { exit !(a > 0 && a * 2 <= b) }' ||
    { echo "demo: perplexity did not halve: $before -> $after" >&2; exit 1; }
fi
