"""Validation scores: likelihood by teacher forcing, scores of generated text, alignment and attention."""

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
from seq2seq.metrics.text import names_in
from seq2seq.model import Seq2Seq
from seq2seq.search import Hypothesis, Search
from seq2seq.tasks.annotations import gold_of
from seq2seq.training import distributed
from seq2seq.training.attention_figures import AttentionFigures
from seq2seq.training.metric_accumulator import MetricAccumulator
from seq2seq.training.options import TrainingOptions

T = TypeVar("T")

EXAMPLES = 200  # number of first records among which the reported one is chosen
EXAMPLE_LENGTH = 40  # length of its target in characters, as nearly as possible


def check_split(corpus: Corpus) -> None:
    """Check that the data have a validation split.

    Args:
        corpus: The data.

    Raises:
        UserError: One line that names the dataset and the remedies.
    """
    if not corpus.has("valid"):
        raise UserError(
            f"data={corpus.name} has no validation split to select the best checkpoint; add a split named valid "
            "(or validation, val, dev), or train without validation by trainer.limit_val_batches=0"
        )


class Validation:
    """Scores of one validation, collected batch by batch in any number of processes.

    Args:
        corpus: The data.
        options: Options of training, which choose the metrics.
        loss_name: Name of the metric of the mean loss (``OutputLayer.loss_name``).
    """

    def __init__(self, corpus: Corpus, options: TrainingOptions, loss_name: str = "nll") -> None:
        self.loss_name = loss_name
        self.corpus, self.metrics = corpus, names_in(options.metrics)
        self.search: Search | None = options.decoding if options.metrics else None
        self.attention = AttentionFigures(options.attention_examples)
        self.scores: dict[str, float] = {}  # scores of the last complete validation
        self.start()

    @cached_property
    def records(self) -> Sequence[Record]:
        """Records of the validation split."""
        return self.corpus.records("valid")

    @cached_property
    def example(self) -> int:
        """Index of the record whose output is reported: a short one among the first records."""
        lengths = [len(self.records[n]["target"]) for n in range(min(EXAMPLES, len(self.records)))]
        return min(range(len(lengths)), key=lambda n: abs(lengths[n] - EXAMPLE_LENGTH))

    @cached_property
    def has_gold(self) -> bool:
        """True if the records contain gold word alignments."""
        return len(self.records) > 0 and bool(self.records[0].get("alignment"))

    def check(self, monitor: str) -> None:
        """Check that a validation measures the monitored metric.

        Args:
            monitor: Name of the metric that selects the best checkpoint.

        Raises:
            UserError: There is no validation split, or the metric cannot select a checkpoint.
        """
        check_split(self.corpus)
        likelihoods = ["nll", "perplexity"] if self.loss_name == "nll" else [self.loss_name]
        names = [*likelihoods, "accuracy", *self.metrics, *(["aer"] if self.has_gold else [])]
        if monitor not in names:
            raise UserError(
                f"training.monitor={monitor} cannot select a checkpoint; use one of {', '.join(names)}, "
                "or add scores of generated text, such as training.metrics=[bleu]"
            )

    def start(self) -> None:
        """Clear the sums of the last validation."""
        self.sums = MetricAccumulator()
        self.attention.start()
        self.hypotheses: dict[int, str] = {}
        self.links: dict[int, frozenset[Link]] = {}

    def step(self, model: Seq2Seq, batch: Batch) -> None:
        """Add one batch to the scores.

        Args:
            model: The model to validate.
            batch: A batch of the validation split. Rows with a negative index are padding.
        """
        # Measure the likelihood by teacher forcing.
        decoded = model(batch)
        found = likelihood(decoded, batch)
        terms = penalties(decoded, batch)
        figures = {name: values.sum() for name, values in found.figures.items()}
        self.sums.add(nll=found.nll, tokens=found.tokens, correct=found.correct.sum(), **figures, **terms)
        # Generate text, attention statistics and alignments where options or data ask for them.
        places = batch.index.tolist()
        if self.search is not None:
            for row, hypotheses in enumerate(self.search(model, batch)):
                self.hypotheses[places[row]] = self.text(hypotheses[0], batch.words(row))
        self.attention.step(model, batch)
        if self.has_gold:
            self._align(model, batch, places)

    def text(self, hypothesis: Hypothesis, oov: Sequence[str] = ()) -> str:
        """Return the detokenised text of a hypothesis.

        Args:
            hypothesis: The hypothesis.
            oov: Source words of this record that the vocabulary lacks.
        """
        return self.corpus.codec.text(hypothesis.tokens, oov)

    def finish(self) -> dict[str, float]:
        """Return the scores; every process must call this and gets the same scores.

        Raises:
            UserError: The validation split has no target tokens.
        """
        # Divide the sums by the number of tokens.
        sums = self.sums.take()
        tokens = int(sums.pop("tokens", 0))
        if not tokens:
            raise UserError("the validation split has no target tokens")
        nll, correct = sums.pop("nll"), sums.pop("correct")
        scores = {
            self.loss_name: nll / tokens,
            **({"perplexity": perplexity(nll, tokens)} if self.loss_name == "nll" else {}),
            "accuracy": token_accuracy(int(correct), tokens),
            **{name: value / tokens for name, value in sums.items()},
        }
        # Collect texts and links of all processes, and score them.
        hypotheses = _merged(distributed.all_gather(self.hypotheses))
        links = _merged(distributed.all_gather(self.links))
        self.scores = {**scores, **self._text_scores(hypotheses), **self._alignment_scores(links)}
        self.scores |= self.attention.finish()
        return self.scores

    def _align(self, model: Seq2Seq, batch: Batch, places: list[int]) -> None:
        """Add the word alignment between source and reference, from attention under teacher forcing."""
        alignment = model(batch, need_weights=True).alignment
        assert alignment is not None
        weights = alignment.float().cpu().numpy()
        # Convert the weights between real tokens to links between words.
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
        """Return the metrics of the generated text."""
        places = sorted(place for place in hypotheses if place >= 0)
        if not places:
            return {}
        references = [self.records[place].get("references") or [self.records[place]["target"]] for place in places]
        scores = score(self.metrics, [hypotheses[place] for place in places], references)
        return {name: value.score for name, value in scores.items()}

    def _alignment_scores(self, links: dict[int, frozenset[Link]]) -> dict[str, float]:
        """Return the alignment error rate (AER) against the gold alignments."""
        if not links:
            return {}
        places = sorted(links)
        agreed = agreement([links[place] for place in places], [gold_of(self.records[place]) for place in places])
        return {"aer": agreed.aer}


def _real(ids: list[int]) -> list[int]:
    """Return the token ids without padding."""
    return [i for i in ids if i != PAD]


def _merged(parts: list[dict[int, T]]) -> dict[int, T]:
    """Merge the dictionaries of all processes, which are keyed by record number."""
    return {place: value for part in parts for place, value in part.items()}
