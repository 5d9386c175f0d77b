"""A real CLIPTokenizer whose vocabulary holds every word of the shapes world as one token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agsm_bench.shapes.captions import OPENINGS
from agsm_bench.shapes.vocabulary import COLORS, NUMBERS, RELATIONS, SHAPES, plural

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

MAX_LENGTH = 16
"""Tokens of a caption, BOS and EOS included; padded with EOS as SD1.5's tokenizer does."""


def words() -> list[str]:
    """The closed vocabulary, in a fixed order."""
    phrases = [
        *OPENINGS,
        *SHAPES,
        *map(plural, SHAPES),
        *COLORS,
        *NUMBERS,
        *RELATIONS,
        "a an and one two three four",
    ]
    return list(dict.fromkeys(w for phrase in phrases for w in phrase.split()))


def build_tokenizer() -> CLIPTokenizer:
    """BPE merges learnt on the world's words; other text falls apart into letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789,.-")
    specials = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=4096, end_of_word_suffix="</w>", initial_alphabet=alphabet, special_tokens=specials,
        show_progress=False,
    )  # fmt: skip
    learner.train_from_iterator([words()] * 2, trainer)
    state = json.loads(learner.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    vocabulary = {token: index for index, token in enumerate(_ordered(state["vocab"]))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_LENGTH)
    missing = [w for w in words() if len(tokenizer(w).input_ids) != 3]
    assert not missing, missing
    return tokenizer


def _ordered(vocab: dict[str, int]) -> list[str]:
    """The tokens in an order of ours: the learner numbers letters that end a word differently in every process."""
    tokens = sorted(vocab, key=lambda token: vocab[token])
    ends = sorted((t for t in tokens if len(t) == len("a</w>") and t.endswith("</w>")), reverse=True)
    first = tokens.index(next(t for t in tokens if t in ends))
    others = [t for t in tokens if t not in ends]
    return others[:first] + ends + others[first:]
