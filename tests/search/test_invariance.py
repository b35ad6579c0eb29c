"""Check that an output depends only on its source, not on the size, order, padding or other rows of the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from seq2seq.batch import PAD, Batch
from seq2seq.layers.embedding import TokenEmbedding
from seq2seq.model import Seq2Seq
from seq2seq.search import Beam, Greedy, Hypothesis, Sample, Search

SEARCHES = {
    "greedy": Greedy(no_repeat_ngram_size=2),
    "beam": Beam(n_best=3),
    "beam-all-options": Beam(
        beam_size=4, n_best=2, min_length=3, max_length=9, no_repeat_ngram_size=2, suppress_unk=True
    ),
    "beam-coverage": Beam(coverage_penalty=0.3),
    "sample": Sample(samples=3),
    "sample-cut": Sample(samples=2, top_k=5, top_p=0.9, temperature=1.3),
}


def rows(batch: Batch, places: list[int]) -> Batch:
    """Return a batch of these sentences without unnecessary padding."""
    source = batch.source[places]
    return replace(batch, source=source[:, : int((source != PAD).sum(1).max())], index=batch.index[places])


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), pytest.param(torch.float32, 1e-5, marks=pytest.mark.slow)],
    ids=["fp64", "fp32"],
)
@pytest.mark.parametrize("name", SEARCHES)
def test_outputs_do_not_depend_on_the_batch(
    family: str,
    name: str,
    dtype: torch.dtype,
    tolerance: float,
    build: Callable[..., Seq2Seq],
    batch: Callable[..., Batch],
) -> None:
    model, sentences = build(family, 150, dtype=dtype, sharpness=2.0), batch([7, 2, 1, 4, 9], 150)
    search: Search = SEARCHES[name]
    together = search(model, sentences)
    for division in ([[0], [1], [2], [3], [4]], [[4, 2], [0, 3, 1]], [[3, 1, 4, 0, 2]]):
        apart: dict[int, list[Hypothesis]] = {}
        for places in division:
            apart.update(zip(places, search(model, rows(sentences, places)), strict=True))
        for place, hypotheses in enumerate(together):
            assert [h.tokens for h in apart[place]] == [h.tokens for h in hypotheses]
            for field in ("score", "log_prob"):
                expected = [getattr(h, field) for h in hypotheses]
                assert [getattr(h, field) for h in apart[place]] == pytest.approx(
                    expected, rel=tolerance, abs=tolerance
                )


def test_length_limit_depends_on_the_sentence(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    model = build("rnn")
    model.decoder.output.bias.data[3] = -100.0  # </s> is never chosen
    for search in (Greedy, Beam, Sample):
        found = search(max_length_ratio=1.5, max_length_offset=2, max_length=11)(model, batch([1, 4, 5, 9]))
        assert [len(h[0].tokens) for h in found] == [3, 8, 9, 11]
        assert not any(h[0].finished for h in found)


def test_learned_positions_limit_the_length(build: Callable[..., Seq2Seq], batch: Callable[..., Batch]) -> None:
    model = build("transformer")
    model.decoder.embedding = TokenEmbedding(9, 8, positions="learned", max_length=6).double()
    model.decoder.output.bias.data[3] = -100.0
    assert len(Beam()(model, batch([4]))[0][0].tokens) == 5
