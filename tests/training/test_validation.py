"""Tests of the scores of the validation split, against the same figures from other functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch

from seq2seq.batch import PAD
from seq2seq.cli import hydra_app, train
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import likelihood
from seq2seq.generation.generator import TrainedModel
from seq2seq.search import Beam, Greedy
from seq2seq.training.options import TrainingOptions
from seq2seq.training.validation import Validation


def run(validation: Validation, corpus: Any, model: Any) -> dict[str, float]:
    """Validate a model, and return its scores."""
    validation.start()
    with torch.no_grad():
        for batch in corpus.loader("valid"):
            validation.step(model.eval(), batch)
    return validation.finish()


def test_likelihood_equals_that_of_the_log_probabilities(prepare: Callable[..., Any]) -> None:
    _, corpus, model = prepare()
    scores = run(Validation(corpus, TrainingOptions()), corpus, model)
    nll, hits, tokens = 0.0, 0, 0
    for batch in corpus.loader("valid"):
        log_p = model.log_probs(batch).detach()
        for row, said in zip(log_p, batch.target_out, strict=True):
            for p, y in zip(row, said.tolist(), strict=True):
                if y != PAD:
                    nll, hits, tokens = nll - float(p[y]), hits + int(p.argmax() == y), tokens + 1
    assert scores["nll"] == pytest.approx(nll / tokens, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(hits / tokens)
    assert set(scores) == {"nll", "perplexity", "accuracy", "aer"}


def test_likelihood_excludes_penalties_of_the_mechanism(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """The likelihood excludes the penalties that the mechanism reports in evaluation mode."""
    config, corpus, model = prepare("attention=coverage")
    trained = TrainedModel(model.eval(), corpus.codec, config, tmp_path, torch.device("cpu"))
    scores = likelihood(trained, corpus.records("valid"), config.data.max_tokens)
    nll, tokens = 0.0, 0
    for batch in corpus.loader("valid"):
        assert model(batch).penalties["coverage"].any()
        log_p = model.log_probs(batch).gather(2, batch.target_out.unsqueeze(2)).squeeze(2)
        nll, tokens = nll - log_p[batch.target_mask].sum().item(), tokens + batch.target_tokens
    assert scores["perplexity"].score == pytest.approx(math.exp(nll / tokens), rel=1e-5)


@pytest.mark.parametrize("search", [Greedy(), Beam(beam_size=2)])
def test_text_is_scored_detokenised_in_the_order_of_the_split(search: Any, prepare: Callable[..., Any]) -> None:
    _, corpus, model = prepare()
    options = TrainingOptions(metrics=("bleu", "chrf", "ter"), decoding=search)
    scores = run(Validation(corpus, options), corpus, model)
    said = {}
    for batch in corpus.loader("valid"):
        for place, found in zip(batch.index.tolist(), search(model, batch), strict=True):
            said[place] = corpus.target_tokenizer.decode(found[0].tokens)
    references = [[record["target"] for record in corpus.records("valid")]]
    hypotheses = [said[place] for place in range(len(said))]
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, references).score)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, references).score)
    assert scores["ter"] == pytest.approx(sacrebleu.corpus_ter(hypotheses, references).score)


def test_scores_over_processes_equal_those_of_one_process(
    prepare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes, of which some get fillers, are gathered by hand."""
    _, corpus, model = prepare(**{"data.max_tokens": 40})
    options = TrainingOptions(metrics=("chrf",), decoding=Greedy())
    whole = run(Validation(corpus, options), corpus, model)
    shares = []
    for rank in range(3):
        share = Validation(corpus, options)
        with torch.no_grad():
            for batch in corpus.loader("valid", rank, 3):
                share.step(model.eval(), batch)
        shares.append(share)
    gathered = iter([[s.sums.totals() for s in shares], [s.hypotheses for s in shares], [s.links for s in shares]])
    monkeypatch.setattr("seq2seq.training.distributed.all_gather", lambda mine: next(gathered))
    monkeypatch.setattr("seq2seq.training.metric_accumulator.all_gather", lambda mine: next(gathered))
    assert shares[0].finish() == pytest.approx(whole)


def test_a_monitor_that_is_not_measured_is_refused(prepare: Callable[..., Any]) -> None:
    _, corpus, _ = prepare()
    validation = Validation(corpus, TrainingOptions(metrics=("bleu",), decoding=Greedy()))
    for name in ("nll", "perplexity", "accuracy", "bleu", "aer"):
        validation.check(name)
    with pytest.raises(UserError, match=r"training\.monitor=chrf .* nll, perplexity, accuracy, bleu, aer"):
        validation.check("chrf")


def test_data_without_a_validation_split_are_refused(
    prepare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, corpus, _ = prepare()
    monkeypatch.setattr(corpus, "has", lambda split: split != "valid")
    with pytest.raises(UserError, match=r"no validation split .* trainer\.limit_val_batches=0"):
        Validation(corpus, TrainingOptions()).check("nll")


def test_a_missing_validation_split_is_refused_before_data_are_encoded(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.tsv").write_text("q\ta\na b\tc d\n", encoding="utf-8")
    options = [f"data.path={tmp_path}", "data.source=q", "data.target=a", f"data.cache={tmp_path / 'cache'}"]
    (config,) = hydra_app.compose("train", ["data=tsv", *map(hydra_app.as_override, options), "logger=csv"])
    with pytest.raises(UserError, match=r"^data=tsv has no validation split .* trainer\.limit_val_batches=0$"):
        train.train(config, tmp_path / "run")
    assert not list((tmp_path / "cache").rglob("*.arrow"))
