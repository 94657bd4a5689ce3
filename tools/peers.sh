#!/usr/bin/env bash
# Real peers open what we write: tools/peers.sh SmolLM2.gguf. One PASS or FAIL line a check; fails on any FAIL.
#
#   CRIA              the program; by default build/release/bin/cria
#   PEERS_VENV        Python environment of the peers, made when missing; by default build/peers
#   MINDSPORE_VENV    the same for MindSpore, which wants its own versions; by default build/peers-mindspore
#   CRIA_FIXTURES     golden files with Llama 3's own vocabulary; by default ../shared/fixtures
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
gguf=$(realpath "$1")
cria=${CRIA:-$root/build/release/bin/cria}
peers=${PEERS_VENV:-$root/build/peers}
mindspore=${MINDSPORE_VENV:-$root/build/peers-mindspore}
fixtures=${CRIA_FIXTURES:-$root/../shared/fixtures}

make_venv() { # folder, requirements file: made once, as a MindSpore wheel alone is 800 MB
  [ -e "$1/.cria-ready" ] && return
  [ -x "$1/bin/python" ] || python3 -m venv "$1"
  CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DLLAVA_BUILD=OFF" "$1/bin/python" -m pip install -q -r "$2"
  touch "$1/.cria-ready"
}
make_venv "$peers" tools/peers/requirements.txt
make_venv "$mindspore" tools/peers/requirements-mindspore.txt

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
run() {
  "$@" || failed=1
}
# HF_HUB_OFFLINE: the peers open local files only; GLOG_v=3: MindSpore reports errors only.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)} PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 GLOG_v=3
run "$peers/bin/python" tools/peers/check_transformers.py "$cria" "$gguf" "$scratch"
run "$peers/bin/python" tools/peers/check_compressed.py "$cria" "$gguf" "$scratch"
run "$peers/bin/python" tools/peers/check_llama_cpp.py "$cria" "$gguf" "$scratch"
run "$peers/bin/python" tools/peers/check_torch.py "$cria" "$gguf" "$scratch"
run "$mindspore/bin/python" tools/peers/check_mindspore.py "$cria" "$gguf" "$scratch" "$fixtures"
exit $failed
