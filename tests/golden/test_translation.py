"""Check the figures of a translation run, and the agreement of two runs, against a computation on paper.

  source      reference     output        sure links        possible links besides
  x y z       a b c d e     a b c d f     x-a y-c z-e       y-b z-d
  u v         g i h         g h           u-g v-h           v-i

Both sources end in </s>, so they have four and three places. x means a, y c, z e, u g, v h, and </s> the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import exp, log, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq import attention_store
from seq2seq.comparison import runs
from seq2seq.comparison.agreement import agreement
from seq2seq.comparison.systems import System
from seq2seq.data.codec import TextCodec
from seq2seq.data.records import Record
from seq2seq.evaluation import results
from seq2seq.evaluation.evaluate import forced
from seq2seq.evaluation.gold_metrics import alignment_error
from seq2seq.generation.generator import TrainedModel
from seq2seq.tasks.annotations import gold_of
from seq2seq.tasks.translation import Translation
from tests.golden.paper import LN2, QUARTER, counted, mean, nats, outputs, run, same, texts
from tests.golden.written import WrittenEncoder, probability, trained, words

PAIRS = [
    Record(
        source="x y z",
        target="a b c d e",
        alignment=[[0, 0], [1, 2], [2, 4]],
        possible=[[1, 1], [2, 3]],
    ),
    Record(source="u v", target="g i h", alignment=[[0, 0], [1, 2]], possible=[[1, 1]]),
]
FIRST = {  # {word read: quarters for each place}: the first layer, which has one head
    **{"<s>": "0400", "a": "1120", "b": "0130", "c": "0040", "d": "0031", "e": "1111", "f": "0022"},
    **{"g": "2110", "i": "0310", "h": "2200"},
}
LAST = {  # the second layer, which has two heads
    **{"<s>": ("4000", "2200"), "a": ("0400", "0220"), "b": ("0400", "2200"), "c": ("4000", "2020")},
    **{"d": ("0040", "0004"), "e": ("0004", "0004"), "f": ("0022", "0004")},
    **{"g": ("2200", "0400"), "i": ("4000", "0040"), "h": ("0220", "0220")},
}
# The means of the heads:     x   y   z  </s>                                    u   v  </s>
#   <s>, which predicts a     3/4 1/4  0   0          <s>, which predicts g      3/4 1/4  0
#   a   ...             b      0  3/4 1/4  0          g   ...             i      1/4 3/4  0
#   b   ...             c     1/4 3/4  0   0          i   ...             h      1/2  0  1/2
#   c   ...             d     3/4  0  1/4  0          h   ...             </s>    0  1/2 1/2
#   d   ...             e      0   0  1/2 1/2
#   e   ...             </s>   0   0   0   1
AFTER = {"<s>": {"a": 4, "g": 3}, "a": {"b": 5}, "c": {"d": 6}, "d": {"f": 6}, "g": {"i": 3}, "i": {"h": 1}}
AFTER |= {"h": {"</s>": 3}}
MEANS = {"x": "a", "y": "c", "z": "e", "u": "g", "v": "h", "</s>": "</s>"}


def translator(*layers: Mapping[str, Any]) -> TrainedModel:
    codec = TextCodec(words("x y z u v"), words("a b c d e f g h i"))
    means = [(3 if word == "</s>" else codec.source.encode(word)[0], meant) for word, meant in MEANS.items()]
    return trained(codec, WrittenEncoder(len(codec.source)), means, layers, AFTER)


def p(word: str, **points: float) -> float:
    """Return p(word) in a vocabulary of four specials and nine words."""
    return probability(13, word, **points)


# Each word gets 4 points for a unit of attention, summed over both layers, and the points of AFTER. In the first line,
# x has 3/4 + 0, which is 3 points for a, and AFTER adds 4; y has 1/4 + 1, which is 5 points for c; AFTER gives 3 to g.
AS_IT_IS = [
    [
        p("a", a=7, c=5, g=3),
        p("b", b=5, a=1, c=4, e=3),
        p("c", a=1, c=4, e=3),
        p("d", d=6, a=3, e=5),
        p("e", f=6, e=5, end=3),
        p("end", a=1, c=1, e=1, end=5),
    ],
    [p("g", g=6, h=5, a=4), p("i", i=3, g=3, h=4, end=1), p("h", h=4, g=2, end=3), p("end", end=5, g=2, h=4)],
]
U, V = 8 / 4, 8 / 3  # points that each place gets where both layers spread their 8 quarters over 4 places, or over 3
UNIFORM = [
    [
        p("a", a=4 + U, c=U, e=U, end=U, g=3),
        p("b", b=5, a=U, c=U, e=U, end=U),
        p("c", a=U, c=U, e=U, end=U),
        p("d", d=6, a=U, c=U, e=U, end=U),
        p("e", f=6, a=U, c=U, e=U, end=U),
        p("end", a=U, c=U, e=U, end=U),
    ],
    [
        p("g", g=3 + V, h=V, end=V, a=4),
        p("i", i=3, g=V, h=V, end=V),
        p("h", h=1 + V, g=V, end=V),
        p("end", end=3 + V, g=V, h=V),
    ],
]
PERMUTED = [  # each row reversed: the weight of x goes to </s>, that of y to z
    [
        p("a", a=4, e=5, end=3, g=3),
        p("b", b=5, c=3, e=4, end=1),
        p("c", c=3, e=4, end=1),
        p("d", d=6, c=5, end=3),
        p("e", f=6, a=3, c=5),
        p("end", a=5, c=1, e=1, end=1),
    ],
    [p("g", g=3, h=5, end=3, a=4), p("i", i=3, g=1, h=4, end=3), p("h", h=4, g=3, end=2), p("end", end=5, g=2, h=4)],
]
FROZEN = [  # 3 points for x and u, 5 for y and v, at every step
    [
        p("a", a=7, c=5, g=3),
        p("b", b=5, a=3, c=5),
        p("c", a=3, c=5),
        p("d", d=6, a=3, c=5),
        p("e", f=6, a=3, c=5),
        p("end", a=3, c=5),
    ],
    [p("g", g=6, h=5, a=4), p("i", i=3, g=3, h=5), p("h", h=6, g=3), p("end", end=3, g=3, h=5)],
]
# The mean of the rows of all steps, in points: the first layer gives x y z </s> 2 7 13 2 sixths and u v </s> 4 10 2
# quarters, the last one 14 14 8 12 twelfths and 12 12 8 eighths.
X, Y, Z, END = 2 / 6 + 14 / 12, 7 / 6 + 14 / 12, 13 / 6 + 8 / 12, 2 / 6 + 12 / 12
AVERAGED = [
    [
        p("a", a=4 + X, c=Y, e=Z, end=END, g=3),
        p("b", b=5, a=X, c=Y, e=Z, end=END),
        p("c", a=X, c=Y, e=Z, end=END),
        p("d", d=6, a=X, c=Y, e=Z, end=END),
        p("e", f=6, a=X, c=Y, e=Z, end=END),
        p("end", a=X, c=Y, e=Z, end=END),
    ],
    [
        p("g", g=3 + 5 / 2, h=4, end=3 / 2, a=4),
        p("i", i=3, g=5 / 2, h=4, end=3 / 2),
        p("h", h=1 + 4, g=5 / 2, end=3 / 2),
        p("end", end=3 + 3 / 2, g=5 / 2, h=4),
    ],
]
# The word to which the last layer attends most is erased: x, y, y, x, z; u, v, u, v. The last step of the first
# sentence attends to no word and does not count.
ERASED = [
    [p("a", a=4, c=5, g=3), p("b", b=5, a=1, e=3), p("c", a=1, e=3), p("d", d=6, e=5), p("e", f=6, end=3)],
    [p("g", g=3, h=5, a=4), p("i", i=3, g=3, end=1), p("h", h=4, end=3), p("end", end=5, g=2)],
]
# Another word, the last one, is erased: z, z, z, z, y; v, u, v, u.
ERASED_OTHER = [
    [p("a", a=7, c=5, g=3), p("b", b=5, a=1, c=4), p("c", a=1, c=4), p("d", d=6, a=3), p("e", f=6, e=5, end=3)],
    [p("g", g=6, a=4), p("i", i=3, h=4, end=1), p("h", h=1, g=2, end=3), p("end", end=5, h=4)],
]


def test_translation(tmp_path: Path) -> None:
    found = run(tmp_path / "run", translator(FIRST, LAST), PAIRS, Translation(["bleu", "chrf", "ter"]))
    assert texts(tmp_path / "run") == ["a b c d f", "g h"]
    first, second = outputs(tmp_path / "run")
    # x-a y-b y-c x-d z-f (f attends to z and </s>, and only z is a word); u-g v-h
    assert (first["alignment"], second["alignment"]) == ("0-0 0-3 1-1 1-2 2-4", "0-0 1-1")
    precision, recall = mean(6 / 7, 3 / 5, 2 / 3, 1 / 2, 0 / 1), mean(6 / 8, 3 / 6, 2 / 4, 1 / 2, 0 / 1)
    same(
        found,
        {
            # Matching n-grams: 4 + 2 of 5 + 2 words, 3 + 0 of 4 + 1 pairs, 2 of 3, 1 of 2; 7 words for 8
            "bleu": 100 * exp(1 - 8 / 7) * (6 / 7 * 3 / 5 * 2 / 3 * 1 / 2) ** (1 / 4),
            # Characters, without spaces: the same counts, and no match of length five; recall counts four times
            "chrf": 100 * 5 * precision * recall / (4 * precision + recall),
            "ter": 100 * (1 + 1) / (5 + 3),  # replace f by e, and insert i
            "perplexity": prod(1 / each for sentence in AS_IT_IS for each in sentence) ** (1 / 10),
            "accuracy": 8 / 10,  # all but e, where f has 6 points, and i, where h has 4
            # AER = 1 - (sure links found + possible links found) / (links found + sure links), the sure ones 3 + 2.
            # The last layer links x-a y-b y-c x-d z-e, u-g v-i u-h
            "aer": 1 - ((3 + 4) + (1 + 2)) / ((5 + 3) + (3 + 2)),
            # The row of the next step, which reads the word; that of e attends to no word: y-a y-b x-c z-d, v-g u-i v-h
            "aer_input": 1 - ((0 + 2) + (1 + 1)) / ((4 + 3) + (3 + 2)),
            # The first layer: y-a z-b z-c z-d z-e, v-g u-i v-h
            "aer_layer1": 1 - ((1 + 2) + (1 + 1)) / ((5 + 3) + (3 + 2)),
            "aer_layer2": 1 - ((3 + 4) + (1 + 2)) / ((5 + 3) + (3 + 2)),
            # The mean of the layers, in eighths: 350 y-a, 143 y-b, 143 y-c, 305 z-d, 005 z-e; 35 v-g, 34 v-i, 23 v-h
            "aer_layers": 1 - ((2 + 4) + (1 + 2)) / ((5 + 3) + (3 + 2)),
            # The diagonal: x-a x-b y-c z-d z-e, u-g v-i v-h
            "aer_diagonal": 1 - ((3 + 4) + (2 + 3)) / ((5 + 3) + (3 + 2)),
            # Uniform: a link is found with probability 1/3 and 1/2
            "aer_uniform": 1 - ((3 + 5) / 3 + (2 + 3) / 2) / ((5 + 3) + (3 + 2)),
            # The rows of both heads for the outputs: those of <s> a b c d f, and of <s> g h
            "attention_entropy": mean(5 / 12 * LN2, 4 / 6 * LN2),  # a row has one place or two halves
            "attention_normalized_entropy": mean(5 / 12 * LN2 / log(4), 4 / 6 * LN2 / log(3)),
            "attention_effective_positions": mean((7 * 1 + 5 * 2) / 12, (2 * 1 + 4 * 2) / 6),
            "attention_sparsity": mean((7 * 3 + 5 * 2) / 48, (2 * 2 + 4 * 1) / 18),
            "attention_peak": mean((7 + 5 / 2) / 12, (2 + 4 / 2) / 6),
            "attention_mass": 1,
            "attention_monotonicity": mean(8 / 10, 4 / 4),  # b to c goes back, and a to b
            "attention_coverage_min": mean(10 / 8, 4 / 8),  # z and </s>; </s>
            "attention_coverage_max": mean(14 / 8, 12 / 8),  # x and y; v
            # (Entropy of the heads' mean - mean of the heads' entropies) / ln 2. The difference is QUARTER - (ln 2) / 2
            # where one head is sharp, ln 2 where both are sharp and differ (d), and 0 where they are equal (h)
            "attention_disagreement": mean(
                (4 * (QUARTER - LN2 / 2) + LN2 + (QUARTER - LN2 / 2)) / 6 / LN2,
                (2 * (QUARTER - LN2 / 2) + 0) / 3 / LN2,
            ),
            "nll_increase_uniform": (nats(UNIFORM) - nats(AS_IT_IS)) / 10,
            "nll_increase_permuted": (nats(PERMUTED) - nats(AS_IT_IS)) / 10,
            "nll_increase_frozen": (nats(FROZEN) - nats(AS_IT_IS)) / 10,
            "nll_increase_averaged": (nats(AVERAGED) - nats(AS_IT_IS)) / 10,
            "erased_attended": (nats(ERASED) - nats(counted(AS_IT_IS, ERASED))) / 9,
            "erased_random": (nats(ERASED_OTHER) - nats(counted(AS_IT_IS, ERASED_OTHER))) / 9,
            "flips_attended": (2 + 2) / 9,  # a to c, c to e; g to h, h to another
            "flips_random": (0 + 1) / 9,  # h to the end
            # |x . d log p(y) / dx| is proportional to A (1 - p(y)) where a word means y, and to A p(y') where it means
            # y'; A is the attention of both layers. The orders of the gradients:
            #   a: y > x > z, but the weights x > y > z: one pair of three is reversed
            #   b: y > z > x, like the weights
            #   c: y > z > x, but the weights y > x > z
            #   d: z > x > y, but the weights x > z > y
            #   e: only z, like the weights
            #   </s>: no word has weight, no tau
            #   g: u > v, like the weights; i: v > u, like the weights; h: v > u, but the weights u > v
            #   </s>: v > u, like the weights
            "gradient_tau": ((1 / 3 + 1 + 1 / 3 + 1 / 3 + 1) + (1 + 1 - 1 + 1)) / 9,
        },
    )


def test_agreement(tmp_path: Path) -> None:
    """The second model has the two layers in reverse order."""
    two = {"run": (FIRST, LAST), "other": (LAST, FIRST)}
    found = {
        name: run(tmp_path / name, translator(*rows), PAIRS, Translation(["bleu"]), faithful=False)
        for name, rows in two.items()
    }
    assert found["other"]["aer"] == pytest.approx(8 / 13)
    entries = [System(name, [runs.read(tmp_path / name, "test")]) for name in two]
    # The weight that both models give to the same words, without </s>: for b, 0 3/4 1/4 and 1/4 1/4 1/2 share 1/4 + 1/4
    first = [1 / 4, 1 / 4 + 1 / 4, 1 / 4, 1 / 4, 1]
    second = [1 / 4, 1 / 4 + 1 / 3, 0]  # for i, 2 1 1 quarters are 2/3 and 1/3 without </s>
    expected = mean(*first, *second)
    shared = agreement(entries)
    assert shared is not None
    np.testing.assert_allclose(shared, [[1, expected], [expected, 1]], atol=1 / 255)  # weights are stored in 8 bits


def test_gold_links_of_a_file(tmp_path: Path) -> None:
    """A run scores the gold links of a file, and stores them beside its splits."""
    gold = [gold_of(pair) for pair in PAIRS]
    maps = [one for one in forced(translator(LAST, LAST), PAIRS, 4096, plots=2) if one is not None]
    metrics, links = alignment_error(maps, gold)
    assert metrics["aer"].score == pytest.approx(1 - ((3 + 4) + (1 + 2)) / ((5 + 3) + (3 + 2)))
    # Precision: 4 of x-a y-b y-c x-d z-e and 2 of u-g v-i u-h are possible. Recall: 3 of 3 and 1 of 2 sure links
    assert metrics["aer"].signature.endswith("|precision:0.7500|recall:0.8000")
    results.save_gold(tmp_path, "gold", gold, maps, links, metrics, Translation(), plots=1, examples=2)
    first, second = map(json.loads, (tmp_path / "outputs" / "gold.jsonl").read_text(encoding="utf-8").splitlines())
    assert (first["source"], first["target"]) == ("x y z", "a b c d e")
    assert (first["alignment"], second["alignment"]) == ("0-0 0-3 1-1 1-2 2-4", "0-0 0-2 1-1")
    assert (first["sums"]["aer"], second["sums"]["aer"]) == ([3 + 4, 5 + 3], [1 + 2, 3 + 2])
    one, other = attention_store.load(tmp_path / "attention" / "gold.npz")
    assert (one.place, other.place) == (0, 1) and list(other.source) == ["▁u", "▁v", "</s>"]
    assert other.reference is not None and one.weights.keys() == {"cross.0", "cross.1"}
    np.testing.assert_allclose(other.reference, [[3 / 4, 1 / 4], [1 / 4, 3 / 4], [1 / 2, 0]], atol=1 / 255)
    assert {path.name[:5] for path in (tmp_path / "attention" / "gold").iterdir()} == {"00000"}  # one is drawn


def test_gold_links_of_one_pair() -> None:
    """The second pair alone has a figure for each layer. Without a pair no layer has one."""
    (one,) = forced(translator(FIRST, LAST), PAIRS[1:], 4096)
    assert one is not None
    metrics, (links,) = alignment_error([one], [gold_of(PAIRS[1])])
    assert links == {(0, 0), (1, 1), (0, 2)}
    expected = {"aer": 3 / 5, "aer_input": 2 / 5, "aer_layer1": 2 / 5, "aer_layer2": 3 / 5, "aer_layers": 3 / 5}
    expected |= {"aer_diagonal": 5 / 5, "aer_uniform": (2 + 3) / 2 / 5}
    same({name: figure.score for name, figure in metrics.items()}, {name: 1 - part for name, part in expected.items()})
    metrics, none = alignment_error([], [])
    assert none == [] and metrics.keys() == {"aer", "aer_input", "aer_diagonal", "aer_uniform"}
