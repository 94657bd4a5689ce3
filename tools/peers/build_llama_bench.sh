#!/usr/bin/env bash
# llama.cpp's llama-bench, built for this machine (GGML_NATIVE) from the source package of llama-cpp-python, which holds it all:
#   tools/peers/build_llama_bench.sh PYTHON FOLDER
# leaves FOLDER/llama-bench and FOLDER/VERSION. The version is that of PYTHON's own llama-cpp-python, else the newest.
set -euo pipefail
python=$1
mkdir -p "$2"
folder=$(realpath "$2")
[ -x "$folder/llama-bench" ] && exit
version=$("$python" -c 'import importlib.metadata as m; print("==" + m.version("llama-cpp-python"))' 2>/dev/null || true)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m pip download -q --no-deps --no-binary llama-cpp-python -d "$scratch" "llama-cpp-python$version"
tar xf "$scratch"/llama_cpp_python-*.tar.gz -C "$scratch"
source=$(echo "$scratch"/llama_cpp_python-*/)
cmake -G Ninja -S "$source/vendor/llama.cpp" -B "$scratch/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
  -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF >"$scratch/log" 2>&1 &&
  ninja -C "$scratch/build" llama-bench >>"$scratch/log" 2>&1 || { tail -n 30 "$scratch/log" >&2; exit 1; }
basename "$source" | sed 's/llama_cpp_python-\(.*\)/of llama-cpp-python \1, built for this processor/' >"$folder/VERSION"
cp "$scratch/build/bin/llama-bench" "$folder/llama-bench"
