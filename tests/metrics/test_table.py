"""Tests of the table of metrics: names, directions, digits, sums and descriptions."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.attention.interventions import INTERVENTIONS
from seq2seq.comparison import tables
from seq2seq.comparison.analysis import TESTED
from seq2seq.errors import UserError
from seq2seq.metrics.table import METRICS, described, find_metric, get_metric, members_of, names_of, rounded

LOWER = {"loss", "nll", "loss_entmax{n}", "zero_probability", "perplexity", "ter", "repetition"}
LOWER |= {name + end for name in ("ser", "cer", "wer", "per", "edit_distance") for end in ("", "_rules")}


def test_each_name_belongs_to_one_metric() -> None:
    names = [metric.name.replace("{n}", "3") for metric in METRICS]
    assert len(set(names)) == len(names)
    for name in names:
        assert [metric for metric in METRICS if metric.matches(name)] == [get_metric(name)], name


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("aer_layer1", "aer_layer{n}"),
        ("aer_layer12", "aer_layer{n}"),
        ("aer_layers", "aer_layers"),
        ("rouge2_lead_3", "rouge2_lead_{n}"),
        ("rougeLsum_lead_45_words", "rougeLsum_lead_{n}_words"),
        ("rouge1_random_10", "rouge1_random_{n}"),
        ("loss_entmax15", "loss_entmax{n}"),
        ("loss_entmax15_increase_averaged", "loss_entmax{n}_increase_averaged"),
    ],
)
def test_numbered_names_belong_to_their_family(name: str, family: str) -> None:
    assert get_metric(name).name == family


@pytest.mark.parametrize(
    ("name", "value", "shown", "description"),
    [
        ("bleu", 34.125, ("34.1", "%"), "n-gram precision up to 4-grams, with a brevity penalty"),
        ("nll", 1.0, ("1.000", "nats per token"), None),
        ("aer", 0.0314, ("0.031", ""), "alignment error rate of the last layer; lower is better"),
        ("mine", 0.5, ("0.500", ""), ""),
    ],
)
def test_a_value_is_shown_with_digits_unit_and_description(
    name: str, value: float, shown: tuple[str, str], description: str | None
) -> None:
    assert rounded(name, value) == shown
    assert description is None or described(name) == description


@pytest.mark.parametrize("name", ["aer_layer", "aer_layer0", "aer_layerx", "xaer", "rouge1_lead_words", ""])
def test_unknown_names_are_refused(name: str) -> None:
    assert find_metric(name) is None
    with pytest.raises(UserError, match="does not exist"):
        get_metric(name)


def test_directions_of_metrics() -> None:
    assert {m.name for m in METRICS if m.lower_is_better} == LOWER | {m.name for m in METRICS if m.name[:3] == "aer"}
    assert all(m.higher_is_better is None for m in METRICS if m.group == "attention")
    assert get_metric("bleu").higher_is_better and get_metric("gradient_tau").higher_is_better
    assert get_metric("length_ratio").higher_is_better is None


def test_digits() -> None:
    """Percentages and figures of a similar size have one digit, all others three."""
    one = {m.name for m in METRICS if m.unit == "%"} | {"perplexity", "compression", "caption_words"}
    for metric in METRICS:
        assert metric.digits == (1 if metric.name in one else 3), metric.name


def test_what_has_no_direction() -> None:
    """Outside the group of attention, only these metrics have no better direction."""
    neither = {m.name for m in METRICS if m.higher_is_better is None and m.group != "attention"}
    assert neither == {
        *(f"{loss}_increase_{name}" for loss in ("nll", "loss_entmax{n}") for name in INTERVENTIONS),
        *("erased_random", "loss_entmax{n}_erased_random", "flips_random", "support_size"),
        *("novelty_1", "novelty_2", "novelty_3", "extractive_coverage", "extractive_density"),
        *("compression", "length_ratio", "caption_words"),
    }


def test_scores_from_sums_by_hand() -> None:
    sums = np.array([[6.0, 3.0], [0.0, 2.0], [0.0, 0.0]])
    expected = {"pointing": [2, 0, np.nan], "aer_layers": [-1, 1, np.nan], "perplexity": [np.exp(2), 1, np.nan]}
    for name, scores in expected.items():
        from_sums = get_metric(name).from_sums
        assert from_sums is not None
        np.testing.assert_allclose(from_sums(sums), scores)


def test_each_intervention_has_a_figure() -> None:
    assert {f"nll_increase_{name}" for name in INTERVENTIONS} < set(names_of("faithfulness"))


def test_metrics_of_a_comparison_are_in_the_table() -> None:
    for name in (*TESTED, *tables.ATTENTION):
        assert find_metric(name) is not None, name


def test_descriptions_are_short_and_plain() -> None:
    for metric in METRICS:
        assert 5 < len(metric.description) < 90 and "|" not in metric.description, metric.name


def test_members_of_a_group_have_the_order_of_the_table() -> None:
    """Names of families are found by their pattern; other groups and unknown names are left out."""
    names = ["accuracy", "loss_entmax2", "mine", "bleu", "loss_entmax15", "nll"]
    assert members_of("likelihood", names) == ["nll", "loss_entmax2", "loss_entmax15", "accuracy"]
