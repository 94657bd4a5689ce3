#!/usr/bin/env bash
# Checks every #include "room/..." in src/ against src/LAYERS, so that no folder cycle can grow.
set -euo pipefail
cd "$(dirname "$0")/.."
awk -F: '!/^#/ && NF { print $1 ":" $2 }' src/LAYERS | while IFS=: read -r room allowed; do
  [ -d "src/$room" ] || continue
  grep -HnoE '#include "[a-z_]+/' "src/$room"/*.h "src/$room"/*.cc "src/$room"/*.cu 2>/dev/null |
    sed -E 's/:#include "([a-z_]+)\//:\1/' | while IFS=: read -r file line used; do
    case " $room $allowed " in
      *" $used "*) ;;
      *) echo "$file:$line: $room may not include $used (src/LAYERS)" ;;
    esac
  done
done | tee /dev/stderr | { ! grep -q .; }
for folder in src/*/; do
  grep -q "^$(basename "$folder"):" src/LAYERS || { echo "$folder has no line in src/LAYERS" >&2; exit 1; }
done
