#!/usr/bin/env bash
# The recipe's launcher, with its positional arguments:
#   msrun_launcher.sh CMD
#   msrun_launcher.sh CMD WORKER_NUM
#   msrun_launcher.sh CMD WORKER_NUM MASTER_PORT LOG_DIR JOIN CLUSTER_TIME_OUT
#   msrun_launcher.sh CMD WORKER_NUM LOCAL_WORKER MASTER_ADDR MASTER_PORT NODE_RANK LOG_DIR JOIN CLUSTER_TIME_OUT
# The ranks run on mpirun (srun inside a Slurm allocation), one alone without either: `cria launch` says how it starts them.
# `python path/run_llama3.py ...` in CMD becomes our program of that name.
# Over several nodes (WORKER_NUM is more than LOCAL_WORKER), node 0's call starts the ranks of all nodes, over ssh on the hosts of
# the file CRIA_HOSTFILE names; the other nodes' calls have nothing to do and say so. CRIA_RESTARTS=N passes --restarts N.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
[ -x "$here/cria" ] || here=$(cd "$(dirname "$0")" && pwd)

usage() {
  echo "Usage: msrun_launcher.sh [EXECUTE_ORDER]"
  echo "       msrun_launcher.sh [EXECUTE_ORDER] [WORKER_NUM]"
  echo "       msrun_launcher.sh [EXECUTE_ORDER] [WORKER_NUM] [MASTER_PORT] [LOG_DIR] [JOIN] [CLUSTER_TIME_OUT]"
  echo "       msrun_launcher.sh [EXECUTE_ORDER] [WORKER_NUM] [LOCAL_WORKER] [MASTER_ADDR] [MASTER_PORT] [NODE_RANK] [LOG_DIR] [JOIN] [CLUSTER_TIME_OUT]"
  exit 1
}
is_number() { # name value
  [[ $2 =~ ^[0-9]+$ ]] || { echo "error: $1=$2 is not a number"; exit 1; }
}
workers=8 local_workers=8 master_addr=127.0.0.1 node_rank=0 log_dir=output/msrun_log join=False time_out=600
case $# in
  1) ;;
  2) workers=$2 local_workers=$2 ;;
  6) workers=$2 local_workers=$2 log_dir=$4 join=$5 time_out=$6 ;;
  9) workers=$2 local_workers=$3 master_addr=$4 node_rank=$6 log_dir=$7 join=$8 time_out=$9 ;;
  *) usage ;;
esac
is_number worker_num "$workers"
is_number local_worker_num "$local_workers"
is_number node_rank "$node_rank"

hosts=()
if [ "$workers" -gt "$local_workers" ]; then
  if [ "$node_rank" != 0 ]; then
    echo "Node $node_rank has nothing to start: the call with NODE_RANK 0 on $master_addr starts the ranks of all nodes."
    exit 0
  fi
  if [ -n "${CRIA_HOSTFILE:-}" ]; then
    hosts=(--hostfile "$CRIA_HOSTFILE")
  elif [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "error: msrun_launcher.sh: $workers workers, $local_workers of them here: no hosts for the others; try: CRIA_HOSTFILE=FILE with lines \`host slots=$local_workers\`, or a Slurm allocation" >&2
    exit 2
  fi
fi

# The program's name without python, folder and .py; its arguments stay as they are.
command=$1
command=${command#python3 }
command=${command#python }
program=${command%% *}
arguments=${command:${#program}}
program=$(basename "$program" .py)
[ -x "$here/$program" ] || { echo "error: msrun_launcher.sh: no program \"$program\"; expected run_llama3 or run_mindformer" >&2; exit 2; }

mkdir -p "$log_dir" ./output/log
echo "Running Command: $program$arguments"
echo "Please check log files in $(cd "$log_dir" && pwd)"
# As the recipe's launcher does: CMD is read by the shell, so quotes inside it hold words together.
eval "set -- $arguments"
code=0
"$here/cria" launch --nproc "$workers" ${hosts[@]+"${hosts[@]}"} --log_dir "$log_dir" --join "$join" --tee False \
  --cluster_time_out="$time_out" --restarts "${CRIA_RESTARTS:-0}" -- "$here/$program" "$@" || code=$?
if [ "$code" != 0 ] && [ "${join,,}" = true ]; then
  grep -E 'error:|ERROR|CRITICAL|Traceback' "$log_dir"/worker_*.log >&2 || true
fi
exit "$code"
