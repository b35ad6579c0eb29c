"""A trained model at work: ``seq2seq.load(RUN).generate(inputs, return_attention=True)``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq import checkpoint
from seq2seq.batch import Batch
from seq2seq.config.instantiate import build_node, plain
from seq2seq.config.validate import check_nodes
from seq2seq.data.codec import Codec
from seq2seq.data.collate import batches_of
from seq2seq.data.record_policy import Report
from seq2seq.errors import UserError
from seq2seq.generation.attention_map import AttentionMap, attention_maps
from seq2seq.model import Seq2Seq
from seq2seq.search import Hypothesis, Search


@dataclass(frozen=True)
class Output:
    """One of the texts that search found for an input; ``score`` ranks it, ``log_prob`` is log p(text | input)."""

    text: str
    score: float
    log_prob: float
    finished: bool  # False where the length limit ended it


@dataclass(frozen=True)
class Generation:
    """What became of one input: ``outputs``, best first, and the attention of the best one where asked for."""

    source: str
    outputs: list[Output]
    attention: AttentionMap | None = None
    copied: list[float] = field(default_factory=list)  # for each word of the best, if asked for: how surely copied

    @property
    def text(self) -> str:
        """Return the best output; empty for an empty input."""
        return self.outputs[0].text if self.outputs else ""


@dataclass(frozen=True)
class TrainedModel:
    """A model with its tokenizers and the config it was trained by."""

    model: Seq2Seq
    codec: Codec
    config: DictConfig
    path: Path  # the checkpoint
    device: torch.device

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> TrainedModel:
        """Open a run directory, a model's folder or its model.safetensors."""
        where = choose(device)
        opened = checkpoint.load(path)
        return cls(opened.model().to(where), opened.codec, opened.config, opened.path, where)

    @cached_property
    def run(self) -> Path:
        """Return the directory of the run."""
        return checkpoint.run_of(self.path)

    def generate(
        self,
        inputs: str | Path | Sequence[str | Path],
        *,
        return_attention: bool = False,
        search: Search | None = None,
        max_tokens: int = 4096,
        first: int = 0,
        **decoding: Any,
    ) -> list[Generation]:
        """Return one ``Generation`` for each input (a text, or the file of an image), in their order.

        ``max_tokens`` and ``first`` as for ``stream``. ``search`` is how; without it, the run's own way with
        ``decoding`` changed (``beam_size=5``, ``n_best=3``).
        """
        texts = [str(one) for one in ([inputs] if isinstance(inputs, str | Path) else inputs)]
        found = [Generation(text, []) for text in texts]
        search = self.search(**decoding) if search is None else search
        stream = self.stream(texts, search, return_attention=return_attention, max_tokens=max_tokens, first=first)
        for input_index, generation in stream:
            found[input_index] = generation
        return found

    def search(self, **decoding: Any) -> Search:
        """Return the run's way to decode, with some options changed."""
        node = {**plain(self.config.decoding), **decoding}
        check_nodes("decoding", node)
        search = build_node(OmegaConf.create({"decoding": node}).decoding)
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
        """Yield (index in ``texts``, generation), batch by batch, longest first; empty texts are passed over.

        ``first`` is the place of ``texts[0]`` among all inputs: sampling draws by it.
        """
        for batch in batches_of(texts, self.codec, max_tokens, first=first, report=Report("input")):
            input_indices = batch.index.tolist()
            batch = replace(batch, index=batch.index + first).to(self.device)
            found = search(self.model, batch)
            best = [hypotheses[0] for hypotheses in found]
            maps = self.attention(batch, best) if return_attention else repeat(None, len(best))
            for row, (input_index, hypotheses, map_of_input) in enumerate(zip(input_indices, found, maps, strict=True)):
                oov = batch.words(row)
                copied = map_of_input.copied_words() if map_of_input else []
                yield (
                    input_index,
                    Generation(
                        texts[input_index], [self._output(one, oov) for one in hypotheses], map_of_input, copied
                    ),
                )

    def attention(self, batch: Batch, chosen: Sequence[Hypothesis]) -> Iterator[AttentionMap]:
        """Return the attention of one teacher-forced pass over a chosen output for each sentence of ``batch``."""
        return attention_maps(self.model, self.codec, batch, chosen)

    def _output(self, found: Hypothesis, oov: Sequence[str]) -> Output:
        return Output(self.codec.text(found.tokens, oov), found.score, found.log_prob, found.finished)


def choose(device: str) -> torch.device:
    """Return the device by its name; ``auto`` is a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device} can't be used here: {str(error).splitlines()[0]}") from error
    return torch.device(device)
