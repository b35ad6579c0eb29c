"""Controls: other pictures, drawn once for all, and attention that looks elsewhere."""

from __future__ import annotations

import pytest

from seq2seq.data.codec import ImageCodec
from seq2seq.data.images import Images
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.evaluation.controls import Control, shuffled_images
from seq2seq.evaluation.evaluate import predicted
from tests.golden.paper import nats
from tests.golden.test_translation import AS_IT_IS, FROZEN, LAST, PAIRS, UNIFORM, translator
from tests.golden.test_translation import FIRST as FIRST_LAYER
from tests.golden.written import words


@pytest.mark.parametrize("count", [2, 3, 10])
def test_each_record_gets_the_picture_of_another(count: int) -> None:
    records = [Record(source=f"{n}.png", target=f"caption {n}", references=[f"caption {n}"]) for n in range(count)]
    codec = ImageCodec(Images(), words("caption"))
    found = shuffled_images(records, codec)
    assert Control("shuffled_images")(records, codec) == found  # drawn once for all
    assert Control()(records, codec) == records
    assert sorted(one["source"] for one in found) == sorted(one["source"] for one in records)
    for before, after in zip(records, found, strict=True):
        assert after["source"] != before["source"]
        assert after == {**before, "source": after["source"]}


def test_what_is_refused() -> None:
    codec = ImageCodec(Images(), words("caption"))
    with pytest.raises(UserError, match="two pictures or more"):
        shuffled_images([Record(source="0.png", target="caption")], codec)
    with pytest.raises(UserError, match="is for models that caption pictures"):
        shuffled_images(PAIRS, translator(FIRST_LAYER, LAST).codec)
    with pytest.raises(UserError, match=r"evaluation\.control=noise is none of: shuffled_images, uniform_attention"):
        Control("noise")


@pytest.mark.parametrize(
    ("control", "probabilities"), [(None, AS_IT_IS), ("uniform_attention", UNIFORM), ("frozen_attention", FROZEN)]
)
def test_attention_is_changed_within(control: str | None, probabilities: list[list[float]]) -> None:
    """As worked out on paper for the written model."""
    model = translator(FIRST_LAYER, LAST)
    with Control(control).around(model.model):
        rows = predicted(model, PAIRS, 4096)
    assert rows[:, 0].sum() == pytest.approx(nats(probabilities))
    assert predicted(model, PAIRS, 4096)[:, 0].sum() == pytest.approx(nats(AS_IT_IS))
