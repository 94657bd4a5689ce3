#!/bin/sh
# Kernels are compiled once per instruction-set level (src/ops/isa.h). The linker keeps one copy of
# a weak symbol, such as an inline function or a template: if such a symbol were shared by the
# levels, or with the rest of the program, a processor without AVX-512 could be handed the AVX-512
# copy. So every weak symbol of a level must lie in that level's namespace.
#
#   tools/check_isa_symbols.sh <build folder>
set -eu
if [ $# -ne 1 ] || [ ! -d "$1" ]; then
  echo "usage: $0 <build folder>" >&2
  exit 2
fi

objects=0
bad=0
for level in avx2 avx512 avx512_vnni avx512_bf16; do
  space="isa_$level"
  # An Itanium-mangled name holds each namespace as its length and its text.
  mark="${#space}$space"
  for object in $(find "$1" -path "*_$level.dir/*_cpu.cc.o" | sort); do
    objects=$((objects + 1))
    # V W and u are weak data, weak functions and unique objects; B D R T would clash at link time
    # only, and are held to the same rule.
    for symbol in $(nm --defined-only --extern-only "$object" |
      awk '$2 ~ /^[VWuBDRT]$/ { print $3 }'); do
      case "$symbol" in
        *"$mark"*) ;;
        DW.ref.*) ;; # the compiler's own handle on the exception personality: data, no code
        *)
          echo "$object: $(echo "$symbol" | c++filt) is outside $space" >&2
          bad=$((bad + 1))
          ;;
      esac
    done
  done
done

if [ "$objects" -eq 0 ]; then
  echo "$0: no kernel objects under $1; build first" >&2
  exit 2
fi
if [ "$bad" -ne 0 ]; then
  echo "$0: $bad symbols outside their level's namespace" >&2
  exit 1
fi
echo "$objects kernel objects: every exported symbol lies in its level's namespace"
