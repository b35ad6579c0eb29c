"""Controls: other images, drawn once for all, and attention that looks elsewhere."""

from __future__ import annotations

import pytest

from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.evaluation.controls import Control
from seq2seq.evaluation.evaluate import predicted
from seq2seq.tasks.captioning import Captioning, shuffled_images
from seq2seq.tasks.translation import Translation
from tests.golden.paper import nats
from tests.golden.test_translation import AS_IT_IS, FROZEN, LAST, PAIRS, UNIFORM, translator
from tests.golden.test_translation import FIRST as FIRST_LAYER


@pytest.mark.parametrize("count", [2, 3, 10])
def test_each_record_gets_the_image_of_another(count: int) -> None:
    records = [Record(source=f"{n}.png", target=f"caption {n}", references=[f"caption {n}"]) for n in range(count)]
    found = shuffled_images(records)
    assert Control(Captioning(), "shuffled_images")(records) == found  # drawn once for all
    assert Control(Captioning())(records) == records
    assert sorted(one["source"] for one in found) == sorted(one["source"] for one in records)
    for before, after in zip(records, found, strict=True):
        assert after["source"] != before["source"]
        assert after == {**before, "source": after["source"]}


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="two images or more"):
        shuffled_images([Record(source="0.png", target="caption")])
    with pytest.raises(UserError, match=r"evaluation\.control=shuffled_images is none of: uniform_attention"):
        Control(Translation(), "shuffled_images")
    with pytest.raises(UserError, match=r"evaluation\.control=noise is none of: shuffled_images, uniform_attention"):
        Control(Captioning(), "noise")


@pytest.mark.parametrize(
    ("control", "probabilities"), [(None, AS_IT_IS), ("uniform_attention", UNIFORM), ("frozen_attention", FROZEN)]
)
def test_attention_is_changed_within(control: str | None, probabilities: list[list[float]]) -> None:
    """As worked out on paper for the written model."""
    model = translator(FIRST_LAYER, LAST)
    with Control(Translation(), control).around(model.model):
        rows = predicted(model, PAIRS, 4096)
    assert rows[:, 0].sum() == pytest.approx(nats(probabilities))
    assert predicted(model, PAIRS, 4096)[:, 0].sum() == pytest.approx(nats(AS_IT_IS))
