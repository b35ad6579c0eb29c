"""Check the figures of a summarisation run against a computation on paper.

  document     references        output        sentence of each word of the first reference
  a b c        a b / d q         a b a b a     0 0 1 1
  d q

  f g          q h               q f e         1 1
  q h          f q

q is not in the target vocabulary: it can only be copied, and the decoder reads it as <unk>. Outputs have five words at
most.
"""

from __future__ import annotations

from math import log, prod
from pathlib import Path

from seq2seq.data.codec import TextCodec
from seq2seq.data.records import Record
from seq2seq.tasks.summarisation import Summarisation
from tests.golden.paper import QUARTER, SPREAD, drawings, mean, outputs, run, same, texts
from tests.golden.written import WrittenEncoder, probability, trained, words

DOCUMENTS = [
    Record(source="a b c\nd q", target="a b\nd q", references=["a b\nd q"], origins=[0, 0, 1, 1]),
    Record(source="f g\nq h", target="q h", references=["q h", "f q"], origins=[1, 1]),
]
READING = {  # one layer of one head; the places are a b c d q </s>, and f g q h </s>
    **{"<s>": "103000", "a": "003010", "b": "400000", "d": "000130", "<unk>": "400000"},
    **{"f": "000040", "e": "000040", "h": "000400"},
}
THEN = {"<s>": {"a": 4}, "a": {"b": 6}, "b": {"a": 6}, "<unk>": {"</s>": 4}, "f": {"e": 5}}
THEN |= {"e": {"</s>": 5}, "h": {"</s>": 5}}


def q(word: str, **points: float) -> float:
    """Return half of p(word) in a vocabulary of four specials and eight words; the other half is copied."""
    return probability(12, word, **points) / 2


SUMMARISED = [  # generated + copied probability of a b d q </s>, and of q h </s>
    [q("a", a=4) + 1 / 2 * 1 / 4, q("b", b=6), q("d", a=6), 1 / 2 * 3 / 4, q("end", end=4)],
    [1 / 2 * 3 / 4, q("h", end=4), q("end", end=5)],
]


def f1(common: int, said: int, wanted: int) -> float:
    """Return 100 F1 of two texts with this number of common items."""
    return 100 * 2 * common / (said + wanted)


def test_summarisation(tmp_path: Path) -> None:
    codec = TextCodec(words("a b c d q f g h"), words("a b c d e f g h"), documents=True, copy=True)
    model = trained(codec, WrittenEncoder(len(codec.source)), [], [READING], THEN)
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    found = run(tmp_path / "run", model, DOCUMENTS, Summarisation(kinds), faithful=False, plots=1)
    assert texts(tmp_path / "run") == ["a b a b a", "q f e"]
    assert drawings(tmp_path / "run") == {f"00000_document.{kind}" for kind in ("png", "html", "npz")}
    first, second = outputs(tmp_path / "run")
    # The copied share of each word's probability, in four digits. The attention to a is 1/4, 1 and 1, and that to f 1.
    # q is only copied.
    copied = [1 / 8 / (q("a", a=4) + 1 / 8), 0, 1 / 2 / (q("a", a=6) + 1 / 2), 0, 1 / 2 / (q("a", a=6) + 1 / 2)]
    assert first["copied"] == [round(share, 4) for share in copied]
    assert second["copied"] == [1, round(1 / 2 / (q("f", end=4) + 1 / 2), 4), 0]
    # {text: F1 of words, of pairs and of the longest common subsequence}. The better reference of the second document
    # counts.
    rouge = {
        "": ((f1(2, 5, 4), f1(1, 4, 3), f1(2, 5, 4)), (f1(2, 3, 2), 0, f1(1, 3, 2))),
        "_lead_1": ((f1(2, 3, 4), f1(1, 2, 3), f1(2, 3, 4)), (f1(1, 2, 2), 0, f1(1, 2, 2))),  # a b c; f g
        "_lead_2_words": ((f1(2, 2, 4), f1(1, 1, 3), f1(2, 2, 4)), (f1(1, 2, 2), 0, f1(1, 2, 2))),  # a b; f g
        "_random_1": ((f1(2, 2, 4), f1(1, 1, 3), f1(2, 2, 4)), (100, 100, 100)),  # d q; q h
        "_oracle": ((f1(4, 5, 4), f1(2, 4, 3), f1(4, 5, 4)), (100, 100, 100)),  # a b c d q; q h
    }
    figures = {}
    for name, ((one, pairs, longest), (other, other_pairs, other_longest)) in rouge.items():
        figures[f"rouge1{name}"] = mean(one, other)
        figures[f"rouge2{name}"] = mean(pairs, other_pairs)
        # rougeLsum equals rougeL: a b and d q have the order of the reference, or one of them is missing
        figures[f"rougeL{name}"] = figures[f"rougeLsum{name}"] = mean(longest, other_longest)
    same(
        found,
        {
            **figures,
            "perplexity": prod(1 / each for document in SUMMARISED for each in document) ** (1 / 8),
            "accuracy": (3 + 1) / 8,  # a b q, and q
            # Most attended: a: c of sentence 0; b: c of 0; d: a of 0, wrong; q: q of 1; and q: q of 1; h: f of 0, wrong
            "sentence_recall": (3 + 1) / 6,
            "sentence_recall_uniform": (3 / 5 + 3 / 5 + 2 / 5 + 2 / 5 + 2 / 4 + 2 / 4) / 6,
            "novelty_1": mean(0, 1 / 3),  # e
            "novelty_2": mean(2 / 4, 1),  # b a twice; q f and f e
            "novelty_3": 1,
            "extractive_coverage": mean((2 + 2 + 1) / 5, (1 + 1) / 3),  # a b, a b, a; q, f
            "extractive_density": mean((4 + 4 + 1) / 5, (1 + 1) / 3),
            "compression": mean(5 / 5, 4 / 3),
            "repetition": mean(1 / 3, 0),  # the second a b a
            "length_ratio": (5 + 3) / (4 + 2),
            "copy_accuracy": (0 + 1) / (1 + 1),  # q
            # The rows of <s> a b a b a, and of <s> q f e
            "attention_entropy": mean(4 / 6 * QUARTER, 1 / 4 * QUARTER),
            "attention_normalized_entropy": mean(4 / 6 * QUARTER / log(6), 1 / 4 * QUARTER / log(5)),
            "attention_effective_positions": mean((4 * SPREAD + 2) / 6, (SPREAD + 3) / 4),
            "attention_sparsity": mean((4 * 4 + 2 * 5) / 36, (3 + 3 * 4) / 20),
            "attention_peak": mean((4 * 3 / 4 + 2) / 6, (3 / 4 + 3) / 4),
            "attention_mass": 1,
            "attention_monotonicity": mean(3 / 5, 2 / 3),  # mean places 1.5 2.5 0 2.5 0 2.5, and 1.5 0 4 4
            "attention_coverage_min": 0,
            "attention_coverage_max": mean(3 / 4 + 3 * 3 / 4, 2),  # c; </s>
            "attention_disagreement": 0,
        },
    )
