"""One encoder and one decoder; what training and search both hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.batch import Batch
from seq2seq.config.instantiate import at_key, build_node
from seq2seq.decoders.base import Decoded, Decoder
from seq2seq.encoders.base import Encoder, EncoderOutput
from seq2seq.errors import UserError


class Seq2Seq(nn.Module):
    """p(y | x) = prod_t p(y_t | y_<t, x), from any encoder and any decoder."""

    def __init__(self, encoder: Encoder, decoder: Decoder, *, share_embeddings: bool = False) -> None:
        """``share_embeddings`` gives the encoder the decoder's table (one joint vocabulary)."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        if share_embeddings and encoder.reads != "text":
            raise UserError("share_embeddings=true has no effect: this encoder reads no tokens")
        if share_embeddings:
            ours, theirs = encoder.embedding.table, decoder.embedding.table
            if ours.weight.shape != theirs.weight.shape:
                raise UserError(
                    "share_embeddings=true needs one vocabulary and one width, but the source has "
                    f"{tuple(ours.weight.shape)} and the target {tuple(theirs.weight.shape)}; "
                    "use a joint vocabulary and equal widths"
                )
            encoder.embedding.table = theirs

    def encode(self, batch: Batch, *, need_weights: bool = False) -> EncoderOutput:
        """The source as decoders start from it."""
        return replace(self.encoder(batch, need_weights=need_weights), copies=batch.copies)

    def forward(self, batch: Batch, *, encoded: EncoderOutput | None = None, need_weights: bool = False) -> Decoded:
        """One teacher-forced pass: features (B, T, D) for every target token, weights of all slots if asked for.

        ``encoded`` is what ``encode`` returned for ``batch``, where it is known.
        """
        if encoded is None:
            encoded = self.encode(batch, need_weights=need_weights)
        decoded, _ = self.decoder(batch.target_in, self.decoder.start(encoded), need_weights=need_weights)
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
        """(B, T, S) of each cross layer, from ``Decoded.weights``: its heads, as its mechanism sums them up."""
        layers = sorted(int(name.removeprefix("cross.")) for name in weights if name.startswith("cross."))
        return [self.decoder.cross_attention(layer).alignment(weights[f"cross.{layer}"]) for layer in layers]

    def alignment(self, weights: Mapping[str, Tensor]) -> Tensor:
        """(B, T, S) of the last of them."""
        last = max(int(name.removeprefix("cross.")) for name in weights if name.startswith("cross."))
        return self.decoder.cross_attention(last).alignment(weights[f"cross.{last}"])

    def log_probs(self, batch: Batch) -> Tensor:
        """(B, T, vocabulary) log p(. | y_<t, x), teacher-forced."""
        return self.decoder.log_probs(self(batch))


def _at_first(of_tokens: Tensor | None, of_sentences: Tensor, batch: Batch) -> Tensor:
    """What the encoder reports of a sentence (B,) counts at its first target token: (B, T)."""
    first = F.pad(of_sentences.unsqueeze(1), (0, batch.target_in.shape[1] - 1))
    return first if of_tokens is None else of_tokens + first


def build(config: DictConfig, source_vocabulary: int, target_vocabulary: int) -> Seq2Seq:
    """The model that a run's config describes: its ``encoder`` and ``decoder`` nodes, sized to the vocabularies."""
    if config.model.share_embeddings and not config.data.tokenizer.joint:
        raise UserError("model.share_embeddings=true needs one vocabulary: set data.tokenizer.joint=true")
    encoder = build_node(config.encoder, source_vocabulary)
    decoder = build_node(config.decoder, target_vocabulary, encoder)
    with at_key("model"):
        return Seq2Seq(encoder, decoder, share_embeddings=config.model.share_embeddings)
