#!/usr/bin/env bash
# Sizes and words: no source file over 600 lines but generated tables, no machine paths, nothing left open.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
while read -r file; do
  lines=$(wc -l <"$file")
  case $file in *_tables.cc) continue ;; esac
  [ "$lines" -le 600 ] || { echo "$file: $lines lines, at most 600: two ideas in one file?"; bad=1; }
done < <(git ls-files 'src/*.h' 'src/*.cc' 'src/*.cu' 'tests/*.cc' 'tests/*.h')
median=$(git ls-files 'src/*.h' 'src/*.cc' 'src/*.cu' | grep -v '_tables\.cc$' | xargs wc -l | grep -v ' total$' | awk '{print $1}' | sort -n | awk '{a[NR]=$1} END {print a[int((NR+1)/2)]}')
[ "$median" -le 160 ] || { echo "median source file has $median lines, at most 160"; bad=1; }
if git grep -nwE 'TODO|FIXME|XXX' -- src tests bench ':!tests/golden'; then bad=1; fi
if git grep -nE '(^|[^.[:alnum:]])/(work|root|home)/' -- . ':!tools/check_files.sh'; then echo "machine paths (above)"; bad=1; fi
exit $bad
