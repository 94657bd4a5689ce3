#!/usr/bin/env python3
"""Writes tests/golden/tokenizer: small vocabularies and what Hugging Face's tokenizers makes of texts.

Judges: tokenizers (training, cutting, encoding) and Jinja2 (chat templates, as transformers'
apply_chat_template renders them). Versions go to tokenizer/versions.json.

usage: make_tokenizer.py    (pip: tokenizers jinja2)
"""

import importlib.metadata
import json
import pathlib
import random

import jinja2
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent / "tokenizer"

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
SMOLLM2_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = """
The young llama walked up the hill and looked at the sea. It's a long way down, she'd thought, and
they've told me that I'm not to go. We'll see; you're late, he said. Don't count 12345 sheep at once!
A model reads text as tokens: pieces of words, numbers like 3.14159 or 2026, and marks such as (this).
    def add(a, b):
        return a + b

for (int i = 0; i < 100; ++i) { sum += values[i]; }
Le cheval blanc s'est arrêté près de la rivière; où est l'été? Größe und Übermaß sind schöne Wörter.
Съешь же ещё этих мягких французских булок, да выпей чаю. 你好，世界！今天天气很好，我们去公园散步吧。
日本語の文章も少し。한국어 문장입니다. مرحبا بالعالم. שלום עולם. नमस्ते दुनिया 🙂🚀👩‍👩‍👧
The system, the user and the assistant speak in turn. Hello! How are you today? I am fine, thank you.
""" * 2

TRICKY = [
    "", " ", "  ", "\n", "\r\n", "\n\n", " \n", "\n ", "\t", "\t\tx", "a", " a", "  a", "a ", "a  ",
    "Hello world", "Hello, world!", "HELLO'S IT'LL you'RE I'M we'VE he'D don'T 'ſ x'ſx 'S's",
    "'", "''", "'s", "'x", " 's", "'rex", "'llama", "12", "123", "1234", "a1b2c3", "1 2  3   4", "x  1",
    " 1", "  12", "3.14 -42 1e-5 0x1F", "①②③ ½ Ⅷ ٣٤٥ १२३", "a\u00a0b", "\u00a0\u00a0x", "\u3000你好",
    "x\u2028y\u2029z", "\u0085a", "a\u200bb", "e\u0301 é", "ﬁ ﬀ ß ẞ K Å", "你好，世界！", "日本語", "한국어",
    "مرحبا بالعالم", "שלום", "नमस्ते", "👩‍👩‍👧 🙂🙂", "\x00\x01\x04\x7f", "a\x0bb\x0cc\x1cd", "!!!???\n\n", "...\r\n\r\n x",
    "##\n\n\n", "    def f(x):\n        return x\n", "\n\n  \n  x", "tabs\t\tand\tspaces  \t ", "<|im_end|>",
    "<|eot_id|>", "<|im_start|>user\nhi<|im_end|>\n", "a<|eot_id|>b<|eot_id|>", "<|eot_id", "<|<|eot_id|>|>",
    "<|endoftext|><|endoftext|>", " <|im_end|> ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    " " * 70, "ab" * 60, "the" * 40, "!?" * 50, "\n" * 60, "９９ ｆｕｌｌ", "\U0001d7d8\U0001d400 \U00020000",
]
ALPHABET = list("aabceIlLsStTvV'''   \n\n\r\t12345.,!?-_(){}<|>") + [
    "'ll", "'s", "é", "ſ", "Ж", "你", "\u00a0", "\u2003", "½", "٣", "\u0301", "🙂", "the", " the", "<|eot_id|>",
    "<|im_end|>", "\x04", "ﬁ",
]


def texts():
    rng = random.Random(20240418)
    made = ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(2, 40))) for _ in range(300)]
    return TRICKY + CORPUS.split("\n")[:12] + made


def train(pre, specials, size, initial_alphabet, at_end):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[] if at_end else specials,
        initial_alphabet=initial_alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    if at_end:
        tokenizer.add_special_tokens(specials)
    return tokenizer


def rows(tokenizer):
    for i, text in enumerate(texts()):
        pieces = [text[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
        tokenizer.encode_special_tokens = True
        row = {"i": i, "text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}
        tokenizer.encode_special_tokens = False
        special = tokenizer.encode(text, add_special_tokens=False).ids
        if special != row["ids"]:
            row["ids_special"] = special
        if "".join(pieces) == text:  # pieces inside a character have no offsets of their own
            row["pieces"] = pieces
        yield row


CHATS = [
    [("user", "Hello! How are you today?")],
    [("system", "Speak in rhymes."), ("user", "Hi"), ("assistant", "Hello, I am fine"), ("user", "1+1?")],
    [("user", "  spaces around \n\n")],
    [("user", "\x1c\u3000 odd space \u2003\n"), ("assistant", "")],
    [("user", "你好，世界！\n\n- one\n- two"), ("assistant", "I'm a llama.\n"), ("user", "\n")],
]


def render(template, messages, add_generation_prompt, bos):
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=add_generation_prompt, bos_token=bos
    )


def chat_rows(tokenizer, template, bos):
    for chat in CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        for prompt in (False, True):
            text = render(template, messages, prompt, bos)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            yield {"messages": messages, "prompt": prompt, "template": template, "ids": ids}


def write_rows(name, values):
    with open(HERE / name, "w", encoding="utf-8", newline="\n") as f:
        for value in values:
            f.write(json.dumps(value, ensure_ascii=True) + "\n")


def save(tokenizer, name, **changes):
    """As the library writes it, then with the changes published files have."""
    data = json.loads(tokenizer.to_str())
    data["model"].update(changes)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    (HERE / f"{name}.tokenizer.json").write_text(text + "\n", encoding="utf-8")
    return Tokenizer.from_str(text)


def main():
    HERE.mkdir(exist_ok=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    byte_level = dict(add_prefix_space=False, trim_offsets=True)
    split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
    llama3 = train(
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(use_regex=False, **byte_level)]),
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        700, alphabet, at_end=True,
    )
    smollm = train(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(**byte_level)]
        ),
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        600, [], at_end=False,
    )
    gpt2 = train(pre_tokenizers.ByteLevel(**byte_level), ["<|endoftext|>"], 500, alphabet, at_end=True)

    old_merges = [" ".join(m) for m in json.loads(llama3.to_str())["model"]["merges"]]
    llama3 = save(llama3, "llama3", ignore_merges=True, merges=old_merges)
    smollm = save(smollm, "smollm")
    gpt2 = save(gpt2, "gpt2")
    for name, tokenizer in (("llama3", llama3), ("smollm", smollm), ("gpt2", gpt2)):
        write_rows(f"{name}.rows.jsonl", rows(tokenizer))
    write_rows("llama3.chat.jsonl", chat_rows(llama3, LLAMA3_TEMPLATE, "<|begin_of_text|>"))
    smollm2_chats = list(chat_rows(smollm, SMOLLM2_TEMPLATE, ""))
    write_rows("smollm.chat.jsonl", smollm2_chats + list(chat_rows(smollm, CHATML_TEMPLATE, "")))
    versions = {p: importlib.metadata.version(p) for p in ("tokenizers", "jinja2")}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
