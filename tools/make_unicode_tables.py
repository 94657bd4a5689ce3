#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_tables.cc: which code points are letters, numbers and white space.

The classes are those of the engine inside tiktoken, asked one property at a time (its Unicode
version decides how text is cut, so it is the judge). The engine inside Hugging Face's tokenizers
must agree, or nothing is written.

usage: make_unicode_tables.py > src/tokenizer/unicode_tables.cc    (pip: tiktoken tokenizers)
"""

import importlib.metadata
import sys

import tiktoken
import tokenizers

CLASSES = ((1, r"\p{L}"), (2, r"\p{N}"), (3, r"\s"))
BLOCK = 256  # code points a block


def members_tiktoken(pattern, text):
    single_bytes = {bytes([i]): i for i in range(256)}
    e = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=single_bytes, special_tokens={})
    return set(e.decode_bytes(e.encode_ordinary(text)).decode())


def members_tokenizers(pattern, text):
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)
    return {piece for piece, _ in split.pre_tokenize_str(text)}


def code_point_classes():
    text = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    classes = bytearray(0x110000)
    for number, pattern in CLASSES:
        found = members_tiktoken(pattern, text)
        if found != members_tokenizers(pattern, text):
            sys.exit(f"tiktoken and tokenizers disagree about {pattern}")
        for c in found:
            classes[ord(c)] = number
    return classes


def rows(values, per_line):
    lines = []
    for i in range(0, len(values), per_line):
        lines.append("    " + ", ".join(str(v) for v in values[i : i + per_line]) + ",")
    return "\n".join(lines)


def main():
    classes = code_point_classes()
    blocks, index = {}, []
    for start in range(0, len(classes), BLOCK):
        block = classes[start : start + BLOCK]
        packed = bytes(
            block[i] | block[i + 1] << 2 | block[i + 2] << 4 | block[i + 3] << 6
            for i in range(0, BLOCK, 4)
        )
        index.append(blocks.setdefault(packed, len(blocks)))
    assert len(blocks) <= 256
    flat = [b for block in blocks for b in block]
    version = {p: importlib.metadata.version(p) for p in ("tiktoken", "tokenizers")}
    print(
        f"""// Made by tools/make_unicode_tables.py; do not edit.
// Source: tiktoken {version["tiktoken"]}; tokenizers {version["tokenizers"]} agrees.
// {classes.count(1)} letters, {classes.count(2)} numbers, {classes.count(3)} white space.
#include "tokenizer/unicode.h"

// clang-format off
namespace cria::unicode {{

const uint8_t kBlockOf[{len(index)}] = {{
{rows(index, 32)}
}};

const uint8_t kClasses[{len(flat)}] = {{
{rows(flat, 32)}
}};

}}  // namespace cria::unicode"""
    )


if __name__ == "__main__":
    main()
