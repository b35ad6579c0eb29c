"""Generation with a trained model: ``seq2seq.load(RUN).generate(inputs, return_attention=True)``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from seq2seq import checkpoint
from seq2seq.batch import EOS, Batch
from seq2seq.config.extensions import NONE, Extensions, current, using
from seq2seq.config.instantiate import build_node, plain
from seq2seq.config.validate import check_nodes
from seq2seq.data.batching import sorted_batches
from seq2seq.data.codec import Codec
from seq2seq.data.collate import batches_of, collate
from seq2seq.data.example import lengths
from seq2seq.data.record_policy import Report
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.generation.attention_map import AttentionMap, attention_maps
from seq2seq.model import Seq2Seq
from seq2seq.search import Hypothesis, Search
from seq2seq.search.teacher_forcing import force


@dataclass(frozen=True)
class Output:
    """One hypothesis of the search for an input, as text."""

    text: str
    score: float  # the score that ranks hypotheses
    log_prob: float  # log p(text | input)
    finished: bool  # False where the length limit stopped it
    proven: bool = False  # True where the search has proven that no other output is more probable


@dataclass(frozen=True)
class Generation:
    """The outputs for one input."""

    source: str  # the input
    outputs: list[Output]  # best first; none for an empty input
    attention: AttentionMap | None = field(default=None, repr=False)  # of the best output, if requested
    copied: list[float] = field(default_factory=list)  # copy probability of each word of the best output, if requested

    @property
    def text(self) -> str:
        """The best output; empty for an empty input."""
        return self.outputs[0].text if self.outputs else ""

    def __str__(self) -> str:
        """Return the best output."""
        return self.text

    def _repr_html_(self) -> str:
        """Return the best output as HTML, which a notebook shows."""
        return f'<p dir="auto">{escape(self.text)}</p>'


@dataclass(frozen=True)
class Scored:
    """A given output for an input, with its probability."""

    source: str  # the input
    target: str  # the given output
    pieces: list[str]  # T pieces of the output, with ``</s>``
    log_probs: list[float]  # log p(piece | input, pieces before it) of each piece, in nats
    attention: AttentionMap | None = None  # if requested

    @property
    def loss(self) -> float:
        """The mean of -log p over the pieces, in nats per token, as validation reports it (``nll``).

        It is infinite if a sparse output layer gives a piece p = 0.
        """
        return -sum(self.log_probs) / len(self.log_probs)


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with its tokenizers and its config."""

    model: Seq2Seq
    codec: Codec  # its tokenizers
    config: DictConfig  # config of the run
    path: Path  # the checkpoint
    device: torch.device
    extensions: Extensions = NONE  # those that counted when it was loaded

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> TrainedModel:
        """Load a trained model.

        Args:
            path: A run directory, the directory of a model, or its model.safetensors.
            device: Name of the device; ``auto`` is a GPU where there is one.

        Raises:
            UserError: There is no valid model, or the device cannot be used.
        """
        where = choose(device)
        opened = checkpoint.load(path)
        return cls(opened.model().to(where), opened.codec, opened.config, opened.path, where, current())

    @cached_property
    def run(self) -> Path:
        """The directory of the run."""
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
        """Generate outputs for inputs.

        Args:
            inputs: One input or several: texts, or files of images.
            return_attention: Whether to return the attention of the best outputs.
            search: The search to use; None is the search of the run.
            max_tokens: Most source tokens in a batch, with padding.
            first: Index of the first input among all inputs of a job; sampling depends on it.
            **decoding: Options that replace those of the run if ``search`` is None (``beam_size=5``, ``n_best=3``).

        Returns:
            One generation for each input, in their order.
        """
        # Inputs that are skipped keep an empty generation.
        texts = [str(one) for one in ([inputs] if isinstance(inputs, str | Path) else inputs)]
        found = [Generation(text, []) for text in texts]
        search = self.search(**decoding) if search is None else search
        stream = self.stream(texts, search, return_attention=return_attention, max_tokens=max_tokens, first=first)
        for input_index, generation in stream:
            found[input_index] = generation
        return found

    def score(
        self,
        sources: str | Path | Sequence[str | Path],
        targets: str | Sequence[str],
        *,
        return_attention: bool = False,
        max_tokens: int = 4096,
    ) -> list[Scored]:
        """Compute the probability of given outputs; each step reads the given pieces before it (teacher forcing).

        Args:
            sources: One input or several: texts, or files of images.
            targets: The output of each input.
            return_attention: Whether to return the attention of the outputs.
            max_tokens: Most tokens in a batch, with padding.

        Returns:
            One result for each input, in their order.

        Raises:
            UserError: The numbers of inputs and outputs differ, or an image cannot be read.
        """
        # Encode the pairs.
        inputs = [str(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]
        outputs = [targets] if isinstance(targets, str) else list(targets)
        if len(inputs) != len(outputs):
            raise UserError(f"score: there are {len(inputs)} inputs and {len(outputs)} outputs; give one output each")
        examples = [self.codec(Record(source=s, target=t)) for s, t in zip(inputs, outputs, strict=True)]
        found: dict[int, Scored] = {}
        for places in sorted_batches(*lengths(examples), max_tokens) if examples else ():
            batch = collate([examples[place] for place in places], places.tolist()).to(self.device)
            if batch.target is None or batch.index.tolist() != places.tolist():
                raise UserError("score: an image cannot be read")
            # Treat the targets, without <s> and </s>, as hypotheses of a search.
            targets_of_batch = [ids[1 : ids.index(EOS)] for ids in batch.target.tolist()]
            chosen = [Hypothesis(tokens, score=0.0, log_prob=0.0, finished=True) for tokens in targets_of_batch]
            passes = force(self.model, batch, chosen, need_weights=False)
            maps = self.attention(batch, chosen) if return_attention else repeat(None, len(chosen))
            # Collect the results of the batch.
            for row, (place, forced, map_of_pair) in enumerate(zip(batch.index.tolist(), passes, maps, strict=True)):
                pieces = self.codec.target.pieces([*chosen[row].tokens, EOS], batch.words(row))
                log_probs = forced.log_probs.double().tolist()
                found[place] = Scored(inputs[place], outputs[place], pieces, log_probs, map_of_pair)
        return [found[place] for place in range(len(inputs))]

    def search(self, **decoding: Any) -> Search:
        """Build the search of the run, with some options replaced.

        Args:
            **decoding: Options of ``decoding`` and their values.
        """
        node = {**plain(self.config.decoding), **decoding}
        with using(self.extensions):
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
        """Generate outputs batch by batch, with the longest inputs first.

        Args:
            texts: Inputs: texts, or files of images.
            search: The search.
            return_attention: Whether to return the attention of the best outputs.
            max_tokens: Most source tokens in a batch, with padding.
            first: Index of ``texts[0]`` among all inputs of a job; sampling depends on it.

        Yields:
            (index in ``texts``, generation); empty texts and texts with errors are skipped.
        """
        for batch in batches_of(texts, self.codec, max_tokens, first=first, report=Report("input")):
            # Search for the best outputs; sampling needs the index among all inputs.
            input_indices = batch.index.tolist()
            batch = replace(batch, index=batch.index + first).to(self.device)
            found = search(self.model, batch)
            # Run the model over the best outputs again, to get their attention.
            best = [hypotheses[0] for hypotheses in found]
            maps = self.attention(batch, best) if return_attention else repeat(None, len(best))
            # Convert the hypotheses to texts.
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
        """Return the attention maps of one output for each sentence (``attention_maps``).

        Args:
            batch: The sentences.
            chosen: The output of each sentence.
        """
        return attention_maps(self.model, self.codec, batch, chosen)

    def _output(self, found: Hypothesis, oov: Sequence[str]) -> Output:
        """Convert a hypothesis to text; ``oov`` are the source words outside the vocabulary."""
        return Output(self.codec.text(found.tokens, oov), found.score, found.log_prob, found.finished, found.proven)


def choose(device: str) -> torch.device:
    """Return the device with a name.

    Args:
        device: Name such as ``cpu`` or ``cuda:0``; ``auto`` is a GPU where there is one.

    Raises:
        UserError: The device cannot be used.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device} cannot be used: {str(error).splitlines()[0]}") from error
    return torch.device(device)
