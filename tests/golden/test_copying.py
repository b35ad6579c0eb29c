"""Check the faithfulness of a model that copies against a computation on paper.

  source      target
  u v q       u q v

q is not in the target vocabulary: it can only be copied, and the decoder reads it as <unk>. The copied share is half of
the attention to the words of the source. The rest is generated, including the attention to </s> or to an erased word.
u and v mean themselves; q means w.
"""

from __future__ import annotations

from math import sqrt

from seq2seq.data.codec import TextCodec
from seq2seq.data.records import Record
from seq2seq.evaluation.faithfulness import faithfulness
from tests.golden.paper import nats, same
from tests.golden.written import WrittenEncoder, probability, trained, words

READING = {"<s>": "2011", "u": "0130", "<unk>": "1210", "v": "0013"}  # quarters for u v q </s>
AFTER = {"<unk>": {"w": 3}, "v": {"</s>": 3}}


def p(word: str, **points: float) -> float:
    """Return p(word) in a vocabulary of four specials and three words."""
    return probability(7, word, **points)


# Generated + copied probability of u q v </s>. The attention to words is 3/4, 1, 1 and 1/4, and the generated shares
# are therefore 5/8, 1/2, 1/2 and 7/8.
AS_IT_IS = [
    5 / 8 * p("u", u=2, w=1) + 1 / 4,
    3 / 8,
    1 / 2 * p("v", u=1, v=2, w=4) + 1 / 4,
    7 / 8 * p("end", w=1, end=3),
]
UNIFORM = [  # 3/4 on words at each step
    5 / 8 * p("u", u=1, v=1, w=1) + 1 / 8,
    1 / 8,
    5 / 8 * p("v", u=1, v=1, w=4) + 1 / 8,
    5 / 8 * p("end", u=1, v=1, w=1, end=3),
]
PERMUTED = [  # each row reversed: 1102, 0310, 0121, 3100
    3 / 4 * p("u", u=1, v=1) + 1 / 8,
    1 / 8,
    5 / 8 * p("v", v=1, w=5) + 1 / 8,
    1 / 2 * p("end", u=3, v=1, end=3),
]
FROZEN = [AS_IT_IS[0], 1 / 8, 5 / 8 * p("v", u=2, w=4), 5 / 8 * p("end", u=2, w=1, end=3)]
# The mean of the rows is 3 3 6 4 sixteenths.
AVERAGED = [
    5 / 8 * p("u", u=3 / 4, v=3 / 4, w=6 / 4) + 3 / 32,
    6 / 32,
    5 / 8 * p("v", u=3 / 4, v=3 / 4, w=6 / 4 + 3) + 3 / 32,
    5 / 8 * p("end", u=3 / 4, v=3 / 4, w=6 / 4, end=3),
]
# The most attended words, u q v q, are erased. The second step keeps only the minimum, 1e-8.
ERASED = [7 / 8 * p("u", w=1), 1e-8, 3 / 4 * p("v", u=1, w=4), p("end", end=3)]
# Another word, the last one, is erased: q v q v.
ERASED_OTHER = [
    3 / 4 * p("u", u=2) + 1 / 4,
    3 / 8,
    5 / 8 * p("v", u=1, v=2, w=3) + 1 / 4,
    AS_IT_IS[3],
]


def test_faithfulness_of_copying() -> None:
    codec = TextCodec(words("u v q"), words("u v w"), copy=True)
    means = [(codec.source.encode(word)[0], meant) for word, meant in {"u": "u", "v": "v", "q": "w"}.items()]
    model = trained(codec, WrittenEncoder(len(codec.source)), means, [READING], AFTER)
    found = faithfulness(model, [Record(source="u v q", target="u q v")], max_tokens=4096)
    before = nats([AS_IT_IS])
    same(
        {name: figure.score for name, figure in found.items()},
        {
            "nll_increase_uniform": (nats([UNIFORM]) - before) / 4,
            "nll_increase_permuted": (nats([PERMUTED]) - before) / 4,
            "nll_increase_frozen": (nats([FROZEN]) - before) / 4,
            "nll_increase_averaged": (nats([AVERAGED]) - before) / 4,
            "erased_attended": (nats([ERASED]) - before) / 4,
            "erased_random": (nats([ERASED_OTHER]) - before) / 4,
            "flips_attended": 3 / 4,  # u to w, q to v, v to w
            "flips_random": 0,
            # The copied probability is independent of the embeddings. |x . d log p(y) / dx| is proportional to
            # A (1 - P(y)) where a word means y, and to A P(y') where it means y'. The orders of the gradients:
            #   u: u > q > v, like the weights; q: copied, no tau; v: v > q > u, but weights v > u = q; </s>: only q
            "gradient_tau": (1 + 2 / sqrt(2 * 3) + 1) / 3,
        },
    )
