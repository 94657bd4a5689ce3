#!/usr/bin/env bash
# The recipe's launcher, with its positional arguments:
#   msrun_launcher.sh CMD
#   msrun_launcher.sh CMD WORKER_NUM
#   msrun_launcher.sh CMD WORKER_NUM MASTER_PORT LOG_DIR JOIN CLUSTER_TIME_OUT
#   msrun_launcher.sh CMD WORKER_NUM LOCAL_WORKER MASTER_ADDR MASTER_PORT NODE_RANK LOG_DIR JOIN CLUSTER_TIME_OUT
# This version starts one worker. `python path/run_llama3.py ...` in CMD becomes our program of that name.
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
workers=8 log_dir=output/msrun_log join=False
case $# in
  1) ;;
  2) workers=$2 ;;
  6) workers=$2 log_dir=$4 join=$5 ;;
  9) workers=$2 log_dir=$7 join=$8 ;;
  *) usage ;;
esac
[[ $workers =~ ^[0-9]+$ ]] || { echo "error: worker_num=$workers is not a number"; exit 1; }
if [ "$workers" != 1 ]; then
  echo "error: msrun_launcher.sh: $workers workers: this version trains in one process, expected 1; try: 1 as the second argument, and --use_parallel False in the command" >&2
  exit 2
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
rm -f "$log_dir/exit_code"
supervise() {
  local code=0
  eval "\"$here/$program\"$arguments" >"$log_dir/worker_0.log" 2>&1 </dev/null || code=$?
  echo "$code" >"$log_dir/exit_code"
  return "$code"
}
case ${join,,} in
  true)
    code=0
    supervise || code=$?
    [ "$code" = 0 ] || grep -E 'error|ERROR|CRITICAL' "$log_dir/worker_0.log" >&2 || true
    exit "$code"
    ;;
  *)
    supervise &
    disown
    ;;
esac
