"""Check the figures of a captioning run against a computation on paper.

  image, in cells      references                                output
  red  black             red above blue here, blue below red       red above blue here
  blue black

  black green            green beside here                         green near it here

The weights of the first layer add up to one. Those of the last layer may add up to less; a sentinel gets the rest.
"""

from __future__ import annotations

from math import exp, log, prod, sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from seq2seq.data.codec import ImageCodec
from seq2seq.data.images import Images
from seq2seq.data.records import Record
from seq2seq.tasks.captioning import Captioning
from tests.golden.paper import LN2, QUARTER, SPREAD, drawings, mean, nats, run, same, texts
from tests.golden.written import Colours, probability, trained, words

COLOURS = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "-": (0, 0, 0)}
SEEN_FIRST = {
    **{"<s>": "1300", "red": "0040", "above": "1030", "blue": "4000", "here": "2200"},
    **{"green": "0400", "beside": "0400", "near": "2200", "it": "4000"},
}
SEEN_LAST = {
    **{"<s>": "3100", "red": "1100", "above": "0040", "blue": "2000", "here": "2200"},
    **{"green": "4000", "beside": "3100", "near": "0400", "it": "1100"},
}
SAID = {"<s>": {"red": 1}, "red": {"above": 5}, "blue": {"here": 7}, "here": {"</s>": 7}, "it": {"here": 3}}
SAID |= {"green": {"near": 7, "beside": 5}, "beside": {"here": 4}, "near": {"it": 7}}


def c(word: str, **points: float) -> float:
    """Return p(word) in a vocabulary of four specials and nine words."""
    return probability(13, word, **points)


CAPTIONED = [
    [
        c("red", red=5),
        c("above", above=5, red=1, blue=4),
        c("blue", blue=7, red=1),
        c("here", here=7, red=6),
        c("end", end=7, red=4),
    ],
    [
        c("green", green=4, red=1),
        c("beside", beside=5, near=7, green=4),
        c("here", here=4, green=5),
        c("end", end=7, green=4),
    ],
]
EVEN = [  # 8 quarters of both layers (6 where the sentinel has two) are spread over four cells, or over two
    [
        c("red", red=3, blue=2),
        c("above", above=5, red=1.5, blue=1.5),
        c("blue", red=2, blue=2),
        c("here", here=7, red=1.5, blue=1.5),
        c("end", end=7, red=2, blue=2),
    ],
    [
        c("green", green=4, red=1),
        c("beside", beside=5, near=7, green=4),
        c("here", here=4, green=4),
        c("end", end=7, green=4),
    ],
]
DEALT = [  # each row reversed
    [c("red", red=1, blue=4), c("above", above=5, blue=1), c("blue"), c("here", here=7), c("end", end=7, blue=4)],
    [
        c("green", green=4, red=1),
        c("beside", beside=5, near=7, green=4),
        c("here", here=4, green=3),
        c("end", end=7, green=4),
    ],
]
STILL = [  # 4 points for each of the first two cells
    [c("red", red=5), c("above", above=5, red=4), c("blue", red=4), c("here", here=7, red=4), c("end", end=7, red=4)],
    [
        c("green", green=4, red=1),
        c("beside", beside=5, near=7, green=4),
        c("here", here=4, green=4),
        c("end", end=7, green=4),
    ],
]
# The mean of the rows: red has 8 + 8 fifths of a point, blue 7 + 4; green 13 + 4 quarters.
RED, BLUE, GREEN = 16 / 5, 11 / 5, 17 / 4
MEAN_ROWS = [
    [
        c("red", red=1 + RED, blue=BLUE),
        c("above", above=5, red=RED, blue=BLUE),
        c("blue", red=RED, blue=BLUE),
        c("here", here=7, red=RED, blue=BLUE),
        c("end", end=7, red=RED, blue=BLUE),
    ],
    [
        c("green", green=GREEN, red=1),
        c("beside", beside=5, near=7, green=GREEN),
        c("here", here=4, green=GREEN),
        c("end", end=7, green=GREEN),
    ],
]
GREY = 128 / 255  # the share of each colour in a grey cell
# The most attended cell is grey; of two equal cells, the second. In the first image these are cells 0, 1, 2, 0, 1. They
# had 4, 1, 7, 6 and 4 quarters. In the second image these are cells 0, 0, 0, 1. They had 4, 4, 3 and 4.
GREYED = [
    [
        c("red", red=1 + 4 * GREY, green=4 * GREY, blue=4 * GREY),
        c("above", above=5, red=1 + GREY, green=GREY, blue=4 + GREY),
        c("blue", red=1 + 7 * GREY, green=7 * GREY, blue=7 * GREY),
        c("here", here=7, red=6 * GREY, green=6 * GREY, blue=6 * GREY),
        c("end", end=7, red=4 + 4 * GREY, green=4 * GREY, blue=4 * GREY),
    ],
    [
        c("green", red=1 + 4 * GREY, green=4 + 4 * GREY, blue=4 * GREY),
        c("beside", beside=5, near=7, red=4 * GREY, green=4 + 4 * GREY, blue=4 * GREY),
        c("here", here=4, red=3 * GREY, green=5 + 3 * GREY, blue=3 * GREY),
        c("end", end=7, red=4 * GREY, green=4 * GREY, blue=4 * GREY),
    ],
]
# The last other cell is grey: in the first image one without attention; in the second one 1, 1, 1, 0.
GREYED_OTHER = [
    CAPTIONED[0],
    [
        c("green", red=1 + 4 * GREY, green=4 * GREY, blue=4 * GREY),
        c("beside", beside=5, near=7, red=4 * GREY, green=4 * GREY, blue=4 * GREY),
        c("here", here=4, red=5 * GREY, green=5 * GREY, blue=5 * GREY),
        c("end", end=7, red=4 * GREY, green=4 + 4 * GREY, blue=4 * GREY),
    ],
]


def image(file: Path, *rows: str) -> str:
    """Write an image whose cells of 2 x 2 pixels have these colours, and return its path."""
    pixels = np.array([[COLOURS[one] for one in row] for row in rows], np.uint8).repeat(2, 0).repeat(2, 1)
    Image.fromarray(pixels).save(file)
    return str(file)


def test_captioning(tmp_path: Path) -> None:
    left, right, above, below = [0, 0, 0.5, 1], [0.5, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1]
    records = [
        Record(
            source=image(tmp_path / "one.png", "r-", "b-"),
            target="red above blue here",
            references=["red above blue here", "blue below red"],
            regions=[[above, [], below, []], []],
        ),
        Record(
            source=image(tmp_path / "two.png", "-g"),
            target="green beside here",
            references=["green beside here"],
            regions=[[right, [], left]],
        ),
    ]
    codec = ImageCodec(Images(size=4), words("red above blue here below green beside near it"))
    means = list(enumerate(("red", "green", "blue")))
    model = trained(codec, Colours(), means, [SEEN_FIRST, SEEN_LAST], SAID)
    metrics = ["cider", "bleu1", "bleu2", "bleu3", "bleu4", "rougeL_coco"]
    found = run(tmp_path / "run", model, records, Captioning(metrics), plots=1)
    assert texts(tmp_path / "run") == ["red above blue here", "green near it here"]
    assert drawings(tmp_path / "run") == {"00000_sheet.png", "00000_sheet.npz"}
    near = exp(-(1**2) / (2 * 6**2))  # the lengths of two captions, in pairs of words, differ by one
    same(
        found,
        {
            # "here" has no weight, because the references of both images have it. All other words have the same
            # weight. The first output equals its first reference (cosine 1 for n = 1..4) and shares two words of
            # three with the second reference. The other output shares one word of three with the two of its reference.
            "cider": mean(10 / 2 * (4 + near * 2 / (sqrt(3) * sqrt(3))) / 4, 10 * near * 1 / (sqrt(3) * sqrt(2)) / 4),
            "bleu1": 100 * (4 + 2) / (4 + 4),  # 8 words for 4 + 3
            "bleu2": 100 * (6 / 8 * 3 / 6) ** (1 / 2),
            "bleu3": 100 * (6 / 8 * 3 / 6 * 2 / 4) ** (1 / 3),
            "bleu4": 100 * (6 / 8 * 3 / 6 * 2 / 4 * 1 / 2) ** (1 / 4),
            # green ... here: 2 of 4 words, 2 of 3
            "rougeL_coco": mean(100, 100 * (1 + 1.2**2) * 2 / 4 * 2 / 3 / (2 / 3 + 1.2**2 * 2 / 4)),
            "perplexity": prod(1 / each for caption in CAPTIONED for each in caption) ** (1 / 9),
            "accuracy": (5 + 2) / 9,  # all but beside, where near has 7 points, and the here after it
            # red: cell 0, right; blue: cell 2, right; green: cell 0, wrong; here: cell 0, right
            "pointing": (1 + 1 + 0 + 1) / 4,
            "pointing_uniform": (1 / 4 + 1 / 4 + 1 / 2 + 1 / 2) / 4,
            "pointing_centre": (1 + 0 + 0 + 1) / 4,  # all cells are equally far from the middle: the first
            "unique_captions": 1,
            "distinct_1": 7 / 8,
            "distinct_2": 6 / 6,
            "caption_words": (4 + 4) / 2,
            "exact": 1 / 2,
            "attributes": (3 + 1) / (3 + 2),  # red, blue and here; green, but not here as third word
            # The rows of <s> red above blue here, and of <s> green near it here; cells of a grid have no order
            "attention_entropy": (QUARTER + 2 * LN2) / 5,
            "attention_normalized_entropy": (QUARTER + 2 * LN2) / 5 * mean(1 / log(4), 1 / log(2)),
            "attention_effective_positions": (SPREAD + 1 + 1 + 2 + 2) / 5,
            "attention_sparsity": mean((2 + 2 + 3 + 3 + 2) / 20, (0 + 1 + 1 + 0 + 0) / 10),
            "attention_peak": mean((3 / 4 + 1 / 4 + 1 + 1 / 2 + 1 / 2) / 5, (3 / 4 + 1 + 1 + 1 / 4 + 1 / 2) / 5),
            "attention_mass": mean((1 + 1 / 2 + 1 + 1 / 2 + 1) / 5, (1 + 1 + 1 + 1 / 2 + 1) / 5),
            "attention_sentinel": mean((1 / 2 + 1 / 2) / 5, 1 / 2 / 5),
            "attention_coverage_min": mean(0, (1 + 4 + 1 + 2) / 4),
            "attention_coverage_max": mean((3 + 1 + 2 + 2) / 4, (3 + 4 + 1 + 2) / 4),
            "attention_disagreement": 0,
            "nll_increase_uniform": (nats(EVEN) - nats(CAPTIONED)) / 9,
            "nll_increase_permuted": (nats(DEALT) - nats(CAPTIONED)) / 9,
            "nll_increase_frozen": (nats(STILL) - nats(CAPTIONED)) / 9,
            "nll_increase_averaged": (nats(MEAN_ROWS) - nats(CAPTIONED)) / 9,
            "erased_attended": (nats(GREYED) - nats(CAPTIONED)) / 9,
            "erased_random": (nats(GREYED_OTHER) - nats(CAPTIONED)) / 9,
            "flips_attended": 1 / 9,  # blue to red
            "flips_random": 2 / 9,  # green to red, green to here
            # Black cells have no gradient. Cells of the first image in their order, with S for small and B for big:
            #   red   weights 3100, gradients B000: 3 pairs agree; 5 have different weights, 3 different gradients
            #   above weights 1100, gradients S0B0: 1 pair agrees, 2 don't; 4 different weights, 5 different gradients
            #   blue  weights 0040, gradients S0B0: 3 pairs agree; 3 different weights, 5 different gradients
            #   here  weights 2000, gradients B000: 3 pairs agree; 3 different weights, 3 different gradients
            #   </s>  weights 2200, gradients B000: 2 pairs agree; 4 different weights, 3 different gradients
            # In the second image the last cell is green: weights 31, 40, 31, and 22, which has no tau
            "gradient_tau": (
                3 / sqrt(5 * 3) + (1 - 2) / sqrt(4 * 5) + 3 / sqrt(3 * 5) + 1 + 2 / sqrt(4 * 3) + (-1 - 1 - 1)
            )
            / (5 + 3),
        },
    )
