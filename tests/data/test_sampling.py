"""Tests of subword regularisation: segmentations are reproducible, have the right distribution and the right limits."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from random import Random

import pytest

from seq2seq.data.piece_vocabulary import PieceVocabulary
from seq2seq.data.sampling import BPEDropout, UnigramSampler
from seq2seq.data.tokenizer import Tokenizer

TEXTS = ["lower lowest newer newest wider widest", "new low wide slow slower slowest", "show shower flow flower"] * 3


def trained(type: str, vocab_size: int = 40, rate: float = 0.3) -> Tokenizer:
    """Return a tokenizer trained on ``TEXTS``."""
    return Tokenizer.train(TEXTS, type=type, vocab_size=vocab_size, rate=rate)


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_the_same_seed_epoch_and_record_give_the_same_segmentation(type):
    tokenizer = trained(type)
    drawn = [tokenizer.encode(TEXTS[0], (1, epoch, record)) for epoch in range(5) for record in range(5)]
    other = pickle.loads(pickle.dumps(tokenizer))  # a copy, as in a worker of the loader
    again = [other.encode(TEXTS[0], (1, epoch, record)) for epoch in range(5)[::-1] for record in range(5)[::-1]]
    assert drawn == again[::-1]
    assert len(set(map(tuple, drawn))) > 10
    assert drawn[0] != tokenizer.encode(TEXTS[0], (2, 0, 0))


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_every_segmentation_spells_the_text(type):
    tokenizer = trained(type)
    text = "lower  flöwer newest"
    assert {tokenizer.decode(tokenizer.encode(text, (0, 0, i))) for i in range(50)} == {"lower fl<unk>wer newest"}


def test_encoding_does_not_change_the_global_generator():
    import random

    random.seed(0)
    before = random.getstate()
    trained("unigram").encode("lower", (1, 2, 3))
    assert random.getstate() == before


def test_unigram_draws_with_the_models_probabilities_to_the_power_of_alpha():
    """P(segmentation) is proportional to exp(alpha * sum of the scores of its pieces)."""
    pieces = PieceVocabulary(trained("unigram", 60).model)
    model = pieces.processor
    alpha, draws = 0.1, 20_000
    sampler, random = UnigramSampler(pieces, alpha, best=512), Random(0)
    counts = Counter(tuple(sampler("▁lowest", random)) for _ in range(draws))
    # the oracle: all segmentations of the word by plain recursion
    scores = {model.id_to_piece(i): model.get_score(i) for i in range(4, len(model))}

    def all_cuts(text: str) -> list[list[str]]:
        cuts = [text[:n] for n in range(1, len(text) + 1) if text[:n] in scores]
        return [[piece, *rest] for piece in cuts for rest in (all_cuts(text[len(piece) :]) if piece != text else [[]])]

    weights = {tuple(map(model.piece_to_id, s)): math.exp(alpha * sum(map(scores.get, s))) for s in all_cuts("▁lowest")}
    assert set(counts) <= set(weights) and len(weights) > 5
    for segmentation, weight in weights.items():
        expected = weight / sum(weights.values())
        deviation = math.sqrt(expected * (1 - expected) / draws)
        assert counts[segmentation] / draws == pytest.approx(expected, abs=5 * deviation)


def test_large_alpha_gives_the_best_segmentation():
    tokenizer = trained("unigram", rate=1000)
    assert [tokenizer.encode(t, (0, 0, 0)) for t in TEXTS] == [tokenizer.encode(t) for t in TEXTS]


@pytest.mark.parametrize("vocab_size", [30, 40, 60])
def test_bpe_without_dropout_equals_sentencepiece(vocab_size):
    tokenizer = trained("bpe", vocab_size, rate=0.0)
    for text in [*TEXTS, "wslowerest flüür ne", "üü"]:
        assert tokenizer.encode(text, (0, 0, 0)) == tokenizer.encode(text)


def test_bpe_with_all_merges_dropped_gives_characters():
    pieces = PieceVocabulary(trained("bpe").model)
    assert pieces.processor.id_to_piece(BPEDropout(pieces, 1.0)("▁lower", Random(0))) == list("▁lower")
