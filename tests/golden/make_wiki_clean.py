#!/usr/bin/env python3
"""Golden results of the recipe's wiki cleaning: MindFormers' own function over made-up texts.

usage: make_wiki_clean.py --mf MINDFORMERS_CHECKOUT --out tests/golden/data/wiki_clean.json
The checkout (mindspore-lab/mindformers, Apache-2.0) is not part of this project. Only the function
is taken from its script, so neither MindSpore nor NumPy is needed.
"""
import argparse
import ast
import json
import os
import random
import re

parser = argparse.ArgumentParser()
parser.add_argument("--mf", required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()

script = os.path.join(args.mf, "research", "llama3", "llama_preprocess.py")
tree = ast.parse(open(script, encoding="utf-8").read())
function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "clean_wikitext")
scope = {"re": re}
exec(compile(ast.Module([function], []), script, "exec"), scope)

# Every pattern's own characters, and spaces that only Python counts as such.
ALPHABET = ["a", "s", "N", "5", " ", " ", " ", "\n", "@-@", "@,@", "@.@", ":", ";", ".", "!", "?", ",", "(", ")", "[", "]",
            "{", "}", '"', "'", "=", " = ", "\u00b0", "/'", " 's", "\u00a0", "\u3000", "\u200b", "\u0085", "\x1c", "\t", "é"]
random.seed(3)
texts = ["", " ", "= = = = = = =", "s 's '", "' a '  ' b '", "( ( a ) )", "\" unpaired", "/' 5/' 6/", "a  ,  b"]
texts += ["".join(random.choice(ALPHABET) for _ in range(random.randint(1, 60))) for _ in range(300)]
cases = [{"text": t, "clean": scope["clean_wikitext"](t), "paragraphs": [
    p for p in scope["clean_wikitext"](t).split("\n\n") if p and p.strip().startswith("=") is False]} for t in texts]
with open(args.out, "w", encoding="utf-8") as f:
    json.dump(cases, f, indent=0, ensure_ascii=True)
    f.write("\n")
