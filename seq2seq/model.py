"""The sequence-to-sequence model: an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from seq2seq.batch import Batch
from seq2seq.config.instantiate import at_key, build_node
from seq2seq.decoders.base import Decoded, Decoder
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.errors import UserError


class Seq2Seq(nn.Module):
    """Encoder-decoder model, p(y | x) = prod_t p(y_t | y_<t, x).

    Letters: B batch size, T target tokens, S source positions, D features.

    Args:
        encoder: Any encoder.
        decoder: Any decoder.
        share_embeddings: Whether the encoder uses the embedding table of the decoder; needs a joint vocabulary.

    Raises:
        UserError: The embeddings cannot be shared.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, *, share_embeddings: bool = False) -> None:
        """Store both parts, and share their embeddings if asked."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        if share_embeddings and encoder.reads != "text":
            raise UserError("share_embeddings=true: this encoder reads no tokens and has no embeddings to share")
        # Replace the table of the encoder.
        if share_embeddings:
            ours, theirs = encoder.embedding.table, decoder.embedding.table
            if ours.weight.shape != theirs.weight.shape:
                raise UserError(
                    "share_embeddings=true needs tables of equal shape, but the source table is "
                    f"{tuple(ours.weight.shape)} and the target table {tuple(theirs.weight.shape)}; "
                    "use a joint vocabulary and equal embedding sizes"
                )
            encoder.embedding.table = theirs

    def encode(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """Encode the source of a batch.

        Args:
            batch: B records.
            need_weights: Whether to return the weights of self-attention.

        Returns:
            The encoder's output with the copy information of the batch, as decoders need it.
        """
        return replace(self.encoder(batch, need_weights=need_weights), copies=batch.copies)

    def forward(self, batch: Batch, *, encoded: EncoderOutput | None = None, need_weights: bool = False) -> Decoded:
        """Run one teacher-forced pass.

        Args:
            batch: B records with targets.
            encoded: Output of ``encode`` for ``batch``; None encodes it now.
            need_weights: Whether to return the weights of all attention and the alignment.

        Returns:
            Features (B, T, D) of each target token, with penalties, log probabilities and weights of both parts.
        """
        # Encode and decode.
        if encoded is None:
            encoded = self.encode(batch, need_weights=need_weights)
        decoded, _ = self.decoder(batch.target_in, self.decoder.start(encoded), need_weights=need_weights)
        # Add what the encoder reports of a sentence.
        penalties, log_prob = dict(decoded.penalties), decoded.log_prob
        for name, value in encoded.penalties.items():
            penalties[name] = _at_first(penalties.get(name), value, batch)
        if encoded.log_prob is not None:
            log_prob = _at_first(log_prob, encoded.log_prob, batch)
        return replace(
            decoded,
            weights={**encoded.weights, **decoded.weights},
            penalties=penalties,
            log_prob=log_prob,
            memory=encoded.memory,
            output=self.decoder.output,
            alignment=self.alignment(decoded.weights) if need_weights else None,
        )

    def alignments(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the alignment (B, T, S) of each cross layer; its mechanism combines the heads.

        Args:
            weights: ``Decoded.weights``.
        """
        layers = sorted(int(name.removeprefix("cross.")) for name in weights if name.startswith("cross."))
        return [self.decoder.cross_attention(layer).alignment(weights[f"cross.{layer}"]) for layer in layers]

    def alignment(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the alignment (B, T, S) of the last cross layer.

        Args:
            weights: ``Decoded.weights``.
        """
        last = max(int(name.removeprefix("cross.")) for name in weights if name.startswith("cross."))
        return self.decoder.cross_attention(last).alignment(weights[f"cross.{last}"])

    def log_probs(self, batch: Batch) -> Tensor:
        """Return log p(. | y_<t, x) of a teacher-forced pass.

        Args:
            batch: B records with targets.

        Returns:
            Log probabilities (B, T, vocabulary).
        """
        return self.decoder.log_probs(self(batch))


def _at_first(of_tokens: Tensor | None, of_sentences: Tensor, batch: Batch) -> Tensor:
    """Add values of sentences (B,) to values of tokens (B, T), at the first token."""
    first = F.pad(of_sentences.unsqueeze(1), (0, batch.target_in.shape[1] - 1))
    return first if of_tokens is None else of_tokens + first


def build(config: DictConfig, source_vocabulary: int, target_vocabulary: int) -> Seq2Seq:
    """Build the model that a run's config describes.

    Args:
        config: Config with the nodes ``model``, ``encoder``, ``decoder`` and ``data``.
        source_vocabulary: Number of source tokens.
        target_vocabulary: Number of target tokens.

    Raises:
        UserError: The config is invalid.
    """
    if config.model.share_embeddings and not config.data.tokenizer.joint:
        raise UserError("model.share_embeddings=true needs one vocabulary: set data.tokenizer.joint=true")
    encoder = build_node(config.encoder, source_vocabulary)
    decoder = build_node(config.decoder, target_vocabulary, encoder)
    with at_key("model"):
        return Seq2Seq(encoder, decoder, share_embeddings=config.model.share_embeddings)


@contextmanager
def without_memory() -> Iterator[None]:
    """Build modules in the block on the meta device: they have shapes, but neither memory nor initial values."""
    with torch.device("meta"), _WithoutDraws():
        yield


class _WithoutDraws(TorchFunctionMode):
    """Mode in which initial values are not drawn: for a draw on the meta device torch imports its compiler."""

    @override
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the tensor of a draw as it is, and call every other function."""
        given = {**dict(zip(("tensor",), args, strict=False)), **(kwargs or {})}
        is_draw = func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == nn.init.__name__
        if is_draw and (tensor := given.get("tensor")) is not None and tensor.is_meta:
            return tensor
        return func(*args, **(kwargs or {}))
