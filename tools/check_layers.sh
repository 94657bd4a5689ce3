#!/usr/bin/env bash
# Checks every #include "room/..." in src/ against src/LAYERS, so that no folder cycle can grow.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob
for folder in src/*/; do
  grep -q "^$(basename "$folder"):" src/LAYERS || { echo "$folder has no line in src/LAYERS" >&2; exit 1; }
done
# First file: the table. All others: their includes.
awk '
  FNR == NR {
    if ($0 !~ /^#/ && NF) { split($0, half, ":"); allowed[half[1]] = " " half[1] " " half[2] " " }
    next
  }
  /^ *# *include *"[a-z_]+\// {
    split(FILENAME, path, "/"); room = path[2]
    split($0, quoted, "\""); split(quoted[2], parts, "/"); used = parts[1]
    if (index(allowed[room], " " used " ") == 0) {
      print FILENAME ":" FNR ": " room " may not include " used " (src/LAYERS)" >"/dev/stderr"
      bad = 1
    }
  }
  END { exit bad }
' src/LAYERS src/*/*.h src/*/*.cc src/*/*.cu src/*/*/*.h src/*/*/*.cc
