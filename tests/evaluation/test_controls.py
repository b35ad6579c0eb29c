"""Tests of controls: images of other records, and attention that is replaced."""

from __future__ import annotations

import pytest
import torch

from seq2seq.attention.interventions import averaged_over
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.evaluation.controls import Control
from seq2seq.evaluation.evaluate import batches, predicted
from seq2seq.search import Beam, Greedy, Search, rescore
from seq2seq.search.teacher_forcing import saying
from seq2seq.tasks.captioning import Captioning, shuffled_images
from seq2seq.tasks.translation import Translation
from tests.golden.paper import nats
from tests.golden.test_translation import AS_IT_IS, AVERAGED, FROZEN, LAST, PAIRS, UNIFORM, translator
from tests.golden.test_translation import FIRST as FIRST_LAYER


@pytest.mark.parametrize("count", [2, 3, 10])
def test_each_record_gets_the_image_of_another(count: int) -> None:
    records = [Record(source=f"{n}.png", target=f"caption {n}", references=[f"caption {n}"]) for n in range(count)]
    found = shuffled_images(records)
    assert Control(Captioning(), "shuffled_images")(records) == found  # every call gives the same draw
    assert Control(Captioning())(records) == records
    assert sorted(one["source"] for one in found) == sorted(one["source"] for one in records)
    for before, after in zip(records, found, strict=True):
        assert after["source"] != before["source"]
        assert after == {**before, "source": after["source"]}


def test_controls_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="two images or more"):
        shuffled_images([Record(source="0.png", target="caption")])
    with pytest.raises(UserError, match=r"evaluation\.control=shuffled_images is none of: uniform_attention"):
        Control(Translation(), "shuffled_images")
    with pytest.raises(UserError, match=r"evaluation\.control=noise is none of: shuffled_images, uniform_attention"):
        Control(Captioning(), "noise")


@pytest.mark.parametrize(
    ("control", "probabilities"),
    [
        (None, AS_IT_IS),
        ("uniform_attention", UNIFORM),
        ("frozen_attention", FROZEN),
        ("averaged_attention", AVERAGED),
    ],
)
def test_attention_is_changed_only_within_the_control(control: str | None, probabilities: list[list[float]]) -> None:
    """The probabilities equal those worked out on paper for the written model."""
    model = translator(FIRST_LAYER, LAST)
    with Control(Translation(), control).around(model.model):
        rows = predicted(model, PAIRS, 4096)
    assert rows[:, 0].sum() == pytest.approx(nats(probabilities))
    assert predicted(model, PAIRS, 4096)[:, 0].sum() == pytest.approx(nats(AS_IT_IS))


def test_search_with_averaged_attention() -> None:
    """Without the control the outputs are a b c d f and g h. The mean rows of these steps give, in points,

        a 16/12, c 26/12, e 38/12, the end 16/12        g 16/6, h 26/6, the end 6/6

    After b, which adds no points, e is therefore likeliest. After h, which adds 3 points for the end, h is likeliest.
    """
    model = translator(FIRST_LAYER, LAST)
    control = Control(Translation(), "averaged_attention")
    (batch,) = batches(model, PAIRS, 4096)
    with control.around(model.model):
        found = control.search(Greedy(max_length=5))(model.model, batch)
    texts = [model.codec.text(found[batch.index.tolist().index(n)][0].tokens, ()) for n in (0, 1)]
    assert texts == ["a b e e e", "g h h h h"]


@pytest.mark.parametrize("search", [Greedy(max_length=5), Beam(beam_size=3, n_best=2, max_length=5)])
def test_averaged_search_returns_the_probabilities_of_rescoring(search: Search) -> None:
    """The search decodes step by step, with hypotheses in parallel. One pass over each gives the same probabilities."""
    model = translator(FIRST_LAYER, LAST)
    control = Control(Translation(), "averaged_attention")
    (batch,) = batches(model, PAIRS, 4096)
    plain = search(model.model, batch)
    found = control.search(search)(model.model, batch)
    with torch.no_grad(), averaged_over(model.model, saying(batch, [one[0] for one in plain])):
        expected = rescore(model.model, batch, found)
    for hypotheses, log_probs in zip(found, expected, strict=True):
        assert [one.log_prob for one in hypotheses] == pytest.approx(log_probs)
