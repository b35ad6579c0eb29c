"""What is measured on the validation split: teacher-forced likelihood, generated text, alignment, attention."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

from seq2seq.batch import PAD, Batch
from seq2seq.data.corpus import Corpus
from seq2seq.data.records import Record
from seq2seq.errors import UserError
from seq2seq.loss import likelihood, penalties
from seq2seq.metrics import score
from seq2seq.metrics.alignment import agreement, align
from seq2seq.metrics.likelihood import perplexity, token_accuracy
from seq2seq.metrics.links import Link
from seq2seq.model import Seq2Seq
from seq2seq.search import Hypothesis, Search
from seq2seq.tasks.annotations import gold_of
from seq2seq.training import distributed
from seq2seq.training.attention_figures import AttentionFigures
from seq2seq.training.metric_accumulator import MetricAccumulator
from seq2seq.training.options import TrainingOptions

T = TypeVar("T")


def check_split(corpus: Corpus) -> None:
    """Refuse data without a validation split.

    Raises:
        UserError: One line that names the dataset and the remedies.
    """
    if not corpus.has("valid"):
        raise UserError(
            f"data={corpus.name} has no validation split to choose the best checkpoint by: add one called valid "
            "(or validation, val, dev), or train without by trainer.limit_val_batches=0"
        )


class Validation:
    """Collects over the batches of one validation, in any number of processes."""

    def __init__(self, corpus: Corpus, options: TrainingOptions) -> None:
        self.corpus, self.metrics = corpus, list(options.metrics)
        self.search: Search | None = options.decoding if options.metrics else None
        self.attention = AttentionFigures(options.attention_examples)
        self.scores: dict[str, float] = {}  # of the last whole validation
        self.start()

    @cached_property
    def records(self) -> Sequence[Record]:
        """Return the records of the validation split."""
        return self.corpus.records("valid")

    @cached_property
    def has_gold(self) -> bool:
        """Whether records know how their words correspond."""
        return len(self.records) > 0 and bool(self.records[0].get("alignment"))

    def check(self, monitor: str) -> None:
        """Refuse to monitor what will not be measured."""
        check_split(self.corpus)
        names = ["nll", "perplexity", "accuracy", *self.metrics, *(["aer"] if self.has_gold else [])]
        if monitor not in names:
            raise UserError(
                f"training.monitor={monitor} is not among what chooses a checkpoint: {', '.join(names)}; "
                "scores of generated text are added by training.metrics=[bleu]"
            )

    def start(self) -> None:
        """Forget the last validation."""
        self.sums = MetricAccumulator()
        self.attention.start()
        self.hypotheses: dict[int, str] = {}
        self.links: dict[int, frozenset[Link]] = {}

    def step(self, model: Seq2Seq, batch: Batch) -> None:
        """Take in one batch; rows whose index is negative only fill it up."""
        decoded = model(batch)
        found = likelihood(decoded, batch)
        terms = penalties(decoded, batch)
        self.sums.add(nll=found.nll, tokens=found.tokens, correct=found.correct.sum(), **terms)
        places = batch.index.tolist()
        if self.search is not None:
            for row, hypotheses in enumerate(self.search(model, batch)):
                self.hypotheses[places[row]] = self.text(hypotheses[0], batch.words(row))
        self.attention.step(model, batch)
        if self.has_gold:
            self._align(model, batch, places)

    def text(self, hypothesis: Hypothesis, oov: Sequence[str] = ()) -> str:
        """What a hypothesis says, detokenised; ``oov`` are words that its vocabulary lacks."""
        return self.corpus.codec.text(hypothesis.tokens, oov)

    def finish(self) -> dict[str, float]:
        """The scores, the same in every process (each of which must call this)."""
        sums = self.sums.take()
        tokens = int(sums.pop("tokens", 0))
        if not tokens:
            raise UserError("the validation split has no target tokens")
        nll, correct = sums.pop("nll"), sums.pop("correct")
        scores = {
            "nll": nll / tokens,
            "perplexity": perplexity(nll, tokens),
            "accuracy": token_accuracy(int(correct), tokens),
            **{name: value / tokens for name, value in sums.items()},
        }
        hypotheses = _merged(distributed.all_gather(self.hypotheses))
        links = _merged(distributed.all_gather(self.links))
        self.scores = {**scores, **self._text_scores(hypotheses), **self._alignment_scores(links)}
        self.scores |= self.attention.finish()
        return self.scores

    def _align(self, model: Seq2Seq, batch: Batch, places: list[int]) -> None:
        """Links of the reference translation, from the attention while it is forced on the model."""
        alignment = model(batch, need_weights=True).alignment
        assert alignment is not None
        weights = alignment.float().cpu().numpy()
        source, target = batch.tokens.tolist(), batch.target_out.tolist()
        for row, place in enumerate(places):
            if place < 0:
                continue
            x, y = _real(source[row]), _real(target[row])
            self.links[place] = align(
                weights[row, : len(y), : len(x)],
                self.corpus.source_tokenizer.words(x),
                self.corpus.target_tokenizer.words(y, batch.words(row)),
            )

    def _text_scores(self, hypotheses: dict[int, str]) -> dict[str, float]:
        places = sorted(place for place in hypotheses if place >= 0)
        if not places:
            return {}
        references = [self.records[place].get("references") or [self.records[place]["target"]] for place in places]
        scores = score(self.metrics, [hypotheses[place] for place in places], references)
        return {name: value.score for name, value in scores.items()}

    def _alignment_scores(self, links: dict[int, frozenset[Link]]) -> dict[str, float]:
        if not links:
            return {}
        places = sorted(links)
        agreed = agreement([links[place] for place in places], [gold_of(self.records[place]) for place in places])
        return {"aer": agreed.aer}


def _real(ids: list[int]) -> list[int]:
    return [i for i in ids if i != PAD]


def _merged(parts: list[dict[int, T]]) -> dict[int, T]:
    return {place: value for part in parts for place, value in part.items()}
