#!/usr/bin/env bash
# Every relative link of README.md and docs/ leads to a file, and every ```sh block that follows a
# line `<!-- run -->` runs: in a scratch folder of its own page, with the programs of the release
# build in PATH, $repo as the checkout and, where it has been fetched, $weights as the demo's GGUF.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bad=0

pages=()
[ -f README.md ] && pages+=(README.md)
while IFS= read -r page; do pages+=("$page"); done < <(find docs -name '*.md' | sort)

# Links outside fenced blocks, one "line target" a line; code spans are not links.
links() {
  awk '
    /^ *```/ { fenced = !fenced; next }
    fenced { next }
    {
      gsub(/`[^`]*`/, "")
      while (match($0, /\]\([^)]+\)/)) {
        print FNR, substr($0, RSTART + 2, RLENGTH - 3)
        $0 = substr($0, RSTART + RLENGTH)
      }
    }' "$1"
}
# The marked blocks of a page, in order, as one script.
marked_blocks() {
  awk '
    /^<!-- run -->$/ { marked = 1; next }
    marked && /^```sh$/ { print "# line " FNR; inside = 1; marked = 0; next }
    inside && /^```$/ { inside = 0; next }
    inside { print; next }
    NF { marked = 0 }' "$1"
}

count=0
for page in "${pages[@]}"; do
  while read -r line target; do
    count=$((count + 1))
    case $target in *://* | mailto:* | '#'*) continue ;; esac
    path=${target%% *}
    path=${path%%#*}
    case $path in
      /*) path=${path#/} ;;
      *) path=$(dirname "$page")/$path ;;
    esac
    [ -e "$path" ] || { echo "$page:$line: the link leads nowhere: $target"; bad=1; }
  done < <(links "$page")
done

weights=$root/build/weights/SmolLM2-135M-Instruct.gguf
blocks=0
for page in "${pages[@]}"; do
  script=$scratch/script.sh
  marked_blocks "$page" >"$script"
  [ -s "$script" ] || continue
  blocks=$((blocks + $(grep -c '^# line ' "$script")))
  folder=$scratch/$(tr '/.' '__' <<<"$page")
  mkdir -p "$folder"
  if ! (cd "$folder" && PATH=$root/build/release/bin:$PATH repo=$root weights=$weights \
    timeout 300 bash -euo pipefail "$script" >"$scratch/log" 2>&1 </dev/null); then
    echo "$page: a marked block failed:"
    tail -n 20 "$scratch/log" | sed 's/^/  /'
    bad=1
  fi
done
echo "${#pages[@]} pages: $count links, $blocks marked blocks"
exit $bad
