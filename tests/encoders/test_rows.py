"""Tests of long sequences in rows: positions return to their places, and each row is encoded alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from seq2seq.batch import Batch
from seq2seq.encoders.base import SequenceEncoder
from seq2seq.encoders.document import DocumentEncoder
from seq2seq.encoders.rnn import RNNEncoder
from seq2seq.encoders.rows import RowLayout
from seq2seq.encoders.transformer import TransformerEncoder
from seq2seq.errors import UserError
from tests.attention.walk import close
from tests.catalogue import model, noise, randomise

MASK = torch.arange(13) < torch.tensor([13, 7, 1, 0])[:, None]
LENGTHS = [[4, 1, 5, 3], [2, 5], [1], []]
SEGMENTS = torch.tensor(
    [[n for n, size in enumerate(row) for _ in range(size)] + [-1] * (13 - sum(row)) for row in LENGTHS]
)


@pytest.mark.parametrize(("size", "overlap"), [(5, 0), (5, 2), (4, 3), (12, 1), (20, 3)])
def test_windows_overlap_and_each_position_is_read_from_one(size: int, overlap: int) -> None:
    """A position is read from the window in which it is furthest from an end."""
    rows = RowLayout.windows(MASK, size, overlap)
    x = noise(4, 13, 2)
    close(rows.join(rows.split(x)), x * MASK.unsqueeze(-1))
    starts = rows.index[0, :, 0].tolist()
    assert all(later - earlier == size - overlap for earlier, later in pairwise(starts))
    seen = {int(i) for i, real in zip(rows.index[0].flatten(), rows.mask[0].flatten(), strict=True) if real}
    assert seen == set(range(13))
    for i, (row, place) in enumerate(zip(rows.row[0].tolist(), rows.place[0].tolist(), strict=True)):
        assert rows.index[0, row, place] == i
        edge = min(place, size - 1 - place)
        others = [min(i - s, size - 1 - (i - s)) for s in starts if 0 <= i - s < size]
        assert edge >= max(others) - 1 or row in (0, len(starts) - 1)  # exact up to one position


def test_sentences_are_rows() -> None:
    rows = RowLayout.sentences(SEGMENTS.clamp(min=0), MASK)
    x = noise(4, 13, 2)
    close(rows.join(rows.split(x)), x * MASK.unsqueeze(-1))
    assert rows.mask.sum(2).tolist() == [[4, 1, 5, 3], [2, 5, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    close(rows.split(x).view(4, 4, 5, 2)[0, 2], x[0, 5:10])
    weights = noise(16, 2, 5, 5).abs() * rows.mask.flatten(0, 1)[:, None, None]
    spread = rows.spread(weights)
    close(spread[0, :, 5:10, 5:10], weights[2])
    assert not spread[0, :, 5:10, :5].any() and not spread[0, :, 5:10, 10:].any() and not spread[3].any()


def batch(lengths: list[list[int]] = LENGTHS) -> Batch:
    """Return a batch of random sources with the segments ``SEGMENTS``."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(4, 11, SEGMENTS.shape, generator=generator).masked_fill(SEGMENTS < 0, 0)
    return Batch(source, torch.arange(len(source)), segments=SEGMENTS)


@pytest.mark.parametrize("name", ["rnn", "transformer"])
def test_chunks_are_encoded_alone(name: str) -> None:
    """With windows of 6 without overlap, the states of a window are those of a source that ends there."""
    ours = model(f"model={name}", "encoder.chunk=6").encoder
    assert isinstance(ours, SequenceEncoder)
    data, x = batch(), ours.embedding(batch().source)
    encoded = ours(data, need_weights=name == "transformer")
    for start in (0, 6, 12):
        part = ours.encode(x[:, start : start + 6], MASK[:, start : start + 6])
        close(encoded.memory.values[:, start : start + 6], part.memory.values)
    assert encoded.memory.segments is data.segments
    first = ours.encode(x[1:2, :6], MASK[1:2, :6]).hidden + ours.encode(x[1:2, 6:12], MASK[1:2, 6:12]).hidden
    close(encoded.hidden[1:2], first / 2)
    if name == "transformer":
        weights = encoded.weights["encoder_self.0"]
        assert weights.shape[2:] == (13, 13) and not weights[0, :, :6, 6:].any()
        close(weights[0].sum(-1), torch.ones(weights.shape[1], 13).double())


@pytest.mark.parametrize("name", ["rnn", "transformer"])
@pytest.mark.parametrize("scope", ["document", "sentence"])
def test_documents(name: str, scope: str) -> None:
    """Words are encoded by document or sentence; sentences are encoded from the means of their words."""
    ours = model(f"model={name}", f"encoder=document_{name}", f"encoder.scope={scope}", "data.documents=true").encoder
    assert isinstance(ours, DocumentEncoder)
    data = batch()
    encoded = ours(data)
    x = ours.embedding(data.source)
    if scope == "sentence":
        close(encoded.memory.values[0, 5:10], ours.words.encode(x[:1, 5:10], MASK[:1, 5:10]).memory.values[0])
    else:
        close(encoded.memory.values, ours.words.encode(x, MASK).memory.values)
    sections = encoded.memory.sections
    assert sections is not None and sections.mask.sum(1).tolist() == [4, 2, 1, 0]
    means = torch.stack([encoded.memory.values[1, :2].mean(0), encoded.memory.values[1, 2:7].mean(0)]).unsqueeze(0)
    assert ours.place is not None
    known = ours.sentences.encode(means + ours.place.table.weight[:2], torch.ones(1, 2, dtype=torch.bool))
    close(sections.values[1:2, :2], known.memory.values)
    close(encoded.hidden[1:2], known.hidden)
    assert encoded.memory.values.isfinite().all() and sections.values.isfinite().all()


@pytest.mark.parametrize(("name", "words"), [("rnn", TransformerEncoder), ("transformer", RNNEncoder)])
def test_another_encoder_reads_the_words(name: str, words: type[SequenceEncoder]) -> None:
    other = "rnn" if words is RNNEncoder else "transformer"
    ours, own = (model(f"encoder=document_{name}", *more).encoder for more in ([f"encoder@encoder.words={other}"], []))
    assert isinstance(ours, DocumentEncoder) and isinstance(own, DocumentEncoder)
    assert type(ours.words) is words
    assert type(ours.sentences) is type(own.sentences)
    x = ours.embedding(batch().source)
    close(ours(batch()).memory.values, ours.words.encode(x, MASK).memory.values)


def test_refusals() -> None:
    with pytest.raises(UserError, match="overlap=5 must be at least 0 and less than chunk=5"):
        RNNEncoder(9, dim=6, embedding_dim=5, chunk=5, overlap=5)
    ours = randomise(model("encoder=document_rnn").encoder)
    with pytest.raises(UserError, match="documents=true of the data"):
        ours(Batch(torch.tensor([[5, 3]]), torch.tensor([0])))
