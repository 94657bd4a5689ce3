#!/usr/bin/env bash
# Trains small models for three steps in many configurations and compares each rank's peak of memory with what was planned:
# at most 5 % apart. Prints a table for docs/planning.md.
# usage: tools/plan_check.sh FOLDER_OF_PROGRAMS SmolLM2-135M-Instruct.gguf OUTPUT_FOLDER [configurations]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$(realpath "$1"):$PATH
gguf=$(realpath "$2")
out=$3
count=${4:-100}
rm -rf "$out"
mkdir -p "$out"
cd "$out"

cat >base.yaml <<'YAML'
runner_config: {epochs: 1, batch_size: 4, sink_mode: False, gradient_accumulation_steps: 1}
optimizer: {type: AdamW, master_weights: exact}
lr_schedule: {type: CosineWithWarmUpLR, learning_rate: 1.e-4, warmup_steps: 1}
train_dataset: {data_loader: {type: MindDataset, dataset_dir: "", shuffle: False}, input_columns: ["input_ids"]}
eval_dataset: {data_loader: {type: MindDataset, dataset_dir: "", num_samples: 4}, input_columns: ["input_ids"]}
do_eval: False
eval_step_interval: 2
use_parallel: False
parallel: {parallel_mode: 1, enable_parallel_optimizer: False, parallel_optimizer_config: {}}
parallel_config: {data_parallel: 1, model_parallel: 1, pipeline_stage: 1, micro_batch_num: 1, vocab_emb_dp: True, use_seq_parallel: False}
recompute_config: {recompute: False}
model:
  model_config: {seq_length: 128, pad_token_id: 0, compute_dtype: float32, param_init_type: float32}
YAML
sed 's/^do_eval: False/do_eval: True/' base.yaml >evaluating.yaml
{ cat base.yaml; printf 'callbacks:\n  - {type: CheckpointMointor, save_checkpoint_steps: 2}\n'; } >saving.yaml

# Plain text, so that every token is trained.
for i in 1 2 3 4 5 6; do cat "$root"/docs/*.md; done | tr '|`#*' '    ' >text
for length in 128 512 1024; do
  llama_preprocess --dataset_type wiki --input_glob text --model_file "$gguf" --pad_token 0 --seq_length $length \
    --output_file "text$length.mindrecord" >/dev/null
done

# Shapes: 19 M parameters; the same untied, 31 M; 88 M.
m=model.model_config
small="--$m.hidden_size 256 --$m.num_layers 8 --$m.num_heads 8 --$m.n_kv_heads 4 --$m.intermediate_size 768 --$m.vocab_size 49152"
tied="$small --$m.tie_word_embeddings True"
large="--$m.hidden_size 512 --$m.num_layers 12 --$m.num_heads 8 --$m.n_kv_heads 4 --$m.intermediate_size 1536 --$m.vocab_size 49152"
bf16="--$m.compute_dtype bfloat16 --$m.param_init_type bfloat16"
f16="--$m.compute_dtype float16 --$m.param_init_type float16"
accumulate=--runner_config.gradient_accumulation_steps
recompute="--recompute_config.recompute True"
gate_up="--recompute_config.recompute_gate_up True"
shard="--parallel.enable_parallel_optimizer True"
split="--parallel_config.use_seq_parallel True --parallel_config.vocab_emb_dp False"

configurations() { # ranks | seq_length | what | flags
  cat <<EOF
1|128|tied, f32|$tied
2|128|tied, dp 2, sharded|$tied --dp 2 $shard
1|512|bf16, recompute, accumulation 2|$small $bf16 $recompute $accumulate 2
2|128|tied, pp 2, 4 micro batches|$tied --pp 2 --micro_batch_num 4 --runner_config.batch_size 1
1|128|tied, bf16|$tied $bf16
1|128|tied, f16|$tied $f16
1|128|bf16 without master|$small $bf16 --optimizer.master_weights none
1|1024|batch_size 2|$small --runner_config.batch_size 2
1|1024|batch_size 2, recompute|$small --runner_config.batch_size 2 $recompute
1|512|tied, batch_size 2, accumulation 3|$tied --runner_config.batch_size 2 $accumulate 3
1|128|bf16|$large $bf16
1|128|SmolLM2-135M, loaded and saved|--load_checkpoint $gguf --config saving.yaml
1|512|tied, bf16, perplexity during training|$tied $bf16 --eval_dataset ../text512.mindrecord --config evaluating.yaml
2|128|dp 2, sharded, bf16|$large $bf16 --dp 2 $shard
2|128|dp 2, ZeRO-2, accumulation 2|$large --dp 2 $shard $accumulate 2 --parallel.parallel_optimizer_config.gradient_accumulation_shard True
4|128|dp 4, ZeRO-3, recompute of gate and up|$large --dp 4 $shard $gate_up --recompute_config.parallel_optimizer_comm_recompute True
4|128|dp 4, sharded, accumulation 2|$small --dp 4 $shard $accumulate 2
2|512|tp 2|$small --mp 2
2|128|tp 2, sequence parallel, vocabulary split|$large --mp 2 $split
4|512|tp 4, recompute|$small --mp 4 $recompute
2|128|pp 2, 4 micro batches|$large --pp 2 --micro_batch_num 4
4|128|tied, pp 4, 8 micro batches, recompute|$tied --pp 4 --micro_batch_num 8 $recompute
2|128|pp 2, interleaved, 4 micro batches|$large --pp 2 --micro_batch_num 4 --parallel_config.pp_interleave_num 2
8|128|dp 2, tp 2, pp 2, sharded|$small --dp 2 --mp 2 --pp 2 --micro_batch_num 2 $shard
EOF
}

# The rank that is furthest from its plan: planned, peak, difference in percent.
furthest() {
  cat "$1"/output/log/rank_*/info.log | sed -n 's/.*Memory of this rank: planned \([0-9.]*\) MiB, at its peak \([0-9.]*\) MiB.*/\1 \2/p' |
    awk '{ d = 100 * ($1 / $2 - 1); a = d < 0 ? -d : d; if (NR == 1 || a > most) { most = a; planned = $1; peak = $2; share = d } }
      END { if (NR == 0) exit 1; printf "%.1f %.1f %+.1f", planned, peak, share }'
}

echo "| ranks | tokens | configuration | planned MiB | peak MiB | difference |"
echo "| --- | --- | --- | --- | --- | --- |"
n=0 bad=0
while IFS='|' read -r ranks length what flags; do
  n=$((n + 1))
  [ $n -le "$count" ] || break
  mkdir "run$n"
  config=base.yaml
  [[ $flags == *--config* ]] && { config=${flags##* }; flags=${flags% --config*}; }
  [ "$ranks" = 1 ] || flags+=" --use_parallel True"
  # shellcheck disable=SC2086
  (cd "run$n" && cria launch --nproc "$ranks" --threads_per_rank 2 -- run_llama3 --config "../$config" --run_mode train --seq_length "$length" --max_steps 3 \
    --train_data "../text$length.mindrecord" $flags >launcher.log 2>&1 </dev/null) ||
    { tail -n 5 "run$n/launcher.log" >&2; echo "plan_check: configuration $n ($what) failed" >&2; exit 1; }
  read -r planned peak share < <(furthest "run$n"; echo)
  echo "| $ranks | $length | $what | $planned | $peak | $share % |"
  awk -v s="$share" 'BEGIN { exit !(s > 5 || s < -5) }' && bad=$((bad + 1))
  rm -rf "run$n/output/checkpoint" "run$n/output/checkpoint_network"
done < <(configurations)
[ $bad -eq 0 ] || { echo "plan_check: $bad configurations are more than 5 % from their plan" >&2; exit 1; }
