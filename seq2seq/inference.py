"""A trained model at work: ``seq2seq.load(RUN).generate(inputs, return_attention=True)``.

Shapes: T target pieces with ``</s>``, S source pieces with ``</s>``, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from seq2seq import checkpoint
from seq2seq.batch import EOS, UNK, Batch
from seq2seq.config import build_node, plain
from seq2seq.data.codec import Codec
from seq2seq.data.collate import batches_of
from seq2seq.decoders.base import SENTINEL
from seq2seq.errors import UserError
from seq2seq.kernels import avoid_wrong_ones
from seq2seq.memory import keep_freed
from seq2seq.metrics.alignment import align
from seq2seq.metrics.attention import statistics
from seq2seq.metrics.links import Link
from seq2seq.metrics.words import membership
from seq2seq.model import Seq2Seq
from seq2seq.options import check_nodes
from seq2seq.search import Hypothesis, Search, force


@dataclass(frozen=True)
class Output:
    """One of the texts that search found for an input; ``score`` ranks it, ``log_prob`` is log p(text | input)."""

    text: str
    score: float
    log_prob: float
    finished: bool  # False where the length limit ended it


@dataclass(frozen=True)
class AttentionMap:
    """Where a model looked, piece by piece, while it said ``target``: as it was used, from one forced pass."""

    source: list[str]  # S pieces
    target: list[str]  # T pieces; row t belongs to the step that predicts target[t]
    source_words: list[int]  # the word each piece belongs to, -1 for specials
    target_words: list[int]
    weights: dict[
        str, NDArray[np.float32]
    ]  # {"cross.L": (H, T, S), "encoder_self.L": (H, S, S), "decoder_self.L": ..., "sentinel.cross.L": (H, T, 1)}
    alignment: NDArray[np.float32]  # (T, S) the last layer's cross-attention, summed up over heads
    sentences: list[int] = field(default_factory=list)  # of a document: the sentence of each source piece
    copied: NDArray[np.float32] | None = None  # (T,) the probability that a piece was copied, given that it was said

    def copied_words(self) -> list[float]:
        """For each target word the mean of ``copied`` over its pieces; empty where the model does not copy."""
        if self.copied is None:
            return []
        member = membership(self.target_words)  # (T, J)
        return [round(float(share), 4) for share in self.copied @ member / member.sum(0)]

    @property
    def sentinels(self) -> dict[str, NDArray[np.float32]]:
        """{"cross.L": (H, T)}: the mass that did not go to the source, of a mechanism with a sentinel."""
        return {n.removeprefix(SENTINEL): w[..., 0] for n, w in self.weights.items() if n.startswith(SENTINEL)}

    def links(self, rows: str = "predicted") -> frozenset[Link]:
        """(source word, target word) for each target word: ``seq2seq.metrics.alignment.align``."""
        return align(self.alignment, membership(self.source_words), membership(self.target_words), rows=rows)

    def statistics(self) -> dict[str, float]:
        """Entropy, coverage, ... of the last cross layer: ``seq2seq.metrics.attention.statistics``."""
        last = max((name for name in self.weights if name.startswith("cross.")), key=lambda name: int(name[6:]))
        return statistics(self.weights[last], self.sentinels.get(last))


@dataclass(frozen=True)
class Generation:
    """What became of one input: ``outputs``, best first, and the attention of the best one where asked for."""

    source: str
    outputs: list[Output]
    attention: AttentionMap | None = None
    copied: list[float] = field(default_factory=list)  # for each word of the best, if asked for: how surely copied

    @property
    def text(self) -> str:
        """The best output; empty for an empty input."""
        return self.outputs[0].text if self.outputs else ""


@dataclass(frozen=True)
class Trained:
    """A model with its tokenizers and the config it was trained by."""

    model: Seq2Seq
    codec: Codec
    config: DictConfig
    path: Path  # the checkpoint
    device: torch.device

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Trained:
        """From a run directory or a checkpoint file."""
        keep_freed()
        avoid_wrong_ones()
        where = choose(device)
        opened = checkpoint.load(path)
        return cls(opened.model().to(where), opened.codec, opened.config, opened.path, where)

    @cached_property
    def run(self) -> Path:
        """The directory of the run."""
        return checkpoint.run_of(self.path)

    def generate(
        self,
        inputs: str | Sequence[str],
        *,
        return_attention: bool = False,
        search: Search | None = None,
        max_tokens: int = 4096,
        first: int = 0,
        **decoding: Any,
    ) -> list[Generation]:
        """One ``Generation`` for each input, in their order; ``max_tokens`` and ``first`` as for ``stream``.

        ``search`` is how; without it, the run's own way with ``decoding`` changed (``beam_size=5``, ``n_best=3``).
        """
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        found = [Generation(text, []) for text in texts]
        search = self.search(**decoding) if search is None else search
        stream = self.stream(texts, search, return_attention=return_attention, max_tokens=max_tokens, first=first)
        for place, generation in stream:
            found[place] = generation
        return found

    def search(self, **decoding: Any) -> Search:
        """The run's way to decode, with some options changed."""
        node = {**plain(self.config.decoding), **decoding}
        check_nodes("decoding", node)
        search = build_node(node)
        assert isinstance(search, Search)
        return search

    def stream(
        self,
        texts: Sequence[str],
        search: Search,
        *,
        return_attention: bool = False,
        max_tokens: int = 4096,
        first: int = 0,
    ) -> Iterator[tuple[int, Generation]]:
        """(place in ``texts``, generation), batch by batch, longest first; empty texts are passed over.

        ``first`` is the place of ``texts[0]`` among all inputs: sampling draws by it.
        """
        for batch in batches_of(texts, self.codec, max_tokens):
            places = batch.index.tolist()
            batch = replace(batch, index=batch.index + first).to(self.device)
            found = search(self.model, batch)
            best = [several[0] for several in found]
            maps = self.attention(batch, best) if return_attention else [None] * len(best)
            for row, (place, several, seen) in enumerate(zip(places, found, maps, strict=True)):
                own = batch.words(row)
                copied = seen.copied_words() if seen else []
                yield place, Generation(texts[place], [self._output(one, own) for one in several], seen, copied)

    def attention(self, batch: Batch, chosen: Sequence[Hypothesis]) -> list[AttentionMap]:
        """The attention of one teacher-forced pass over a chosen output for each sentence of ``batch``."""
        maps = []
        tokenizers = self.codec.source, self.codec.target
        for row, forced in enumerate(force(self.model, batch, chosen)):
            size, own = int(batch.source_mask[row].sum()), batch.words(row)
            source, target = batch.source[row, :size].tolist(), [*chosen[row].tokens, EOS]
            pieces = tokenizers[0].pieces(source)
            if batch.copies is not None:  # own words are spelt out
                meant = tokenizers[1].pieces(batch.copies.ids[row, :size].tolist(), own)
                pieces = [there if i == UNK else piece for i, piece, there in zip(source, pieces, meant, strict=True)]
            cross = {
                name: weights.unsqueeze(0) for name, weights in forced.weights.items() if name.startswith("cross.")
            }
            maps.append(
                AttentionMap(
                    pieces,
                    tokenizers[1].pieces(target, own),
                    tokenizers[0].words(source),
                    tokenizers[1].words(target, own),
                    {name: weights.float().cpu().numpy() for name, weights in forced.weights.items()},
                    self.model.alignment(cross)[0].float().cpu().numpy(),
                    [] if batch.segments is None else batch.segments[row, :size].tolist(),
                    None if forced.copied is None else forced.copied.float().cpu().numpy(),
                )
            )
        return maps

    def _output(self, found: Hypothesis, own: Sequence[str]) -> Output:
        return Output(self.codec.text(found.tokens, own), found.score, found.log_prob, found.finished)


def choose(device: str) -> torch.device:
    """``auto`` is a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device} can't be used here: {str(error).splitlines()[0]}") from error
    return torch.device(device)
