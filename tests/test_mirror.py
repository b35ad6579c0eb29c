"""Check that every module of seq2seq has a test file of its name, or is listed here with the file that tests it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTED_BY = {
    "attention/component.py": "attention/test_composed.py",
    "attention/components/feature_maps.py": "attention/test_linear.py",
    "attention/recurrent.py": "attention/test_laws.py",  # base class of coverage, GMM, monotonic and others
    "checkpoint.py": "cli/test_training_and_use.py",
    "cli/commands.py": "config/test_signatures.py",
    "cli/evaluate.py": "cli/test_training_and_use.py",
    "cli/generate.py": "cli/test_training_and_use.py",
    "cli/help_layout.py": "cli/test_help.py",
    "cli/help_pages.py": "cli/test_help.py",
    "cli/hydra_app.py": "test_commands.py",
    "cli/merge_overrides.py": "test_commands.py",
    "cli/one_line.py": "cli/test_help.py",
    "cli/pack.py": "comparison/test_packs.py",
    "cli/train.py": "cli/test_training_and_use.py",
    "comparison/analysis.py": "cli/test_compare.py",
    "comparison/baseline_rules.py": "comparison/test_groups.py",
    "comparison/explorer.py": "comparison/test_report_in_browser.py",
    "comparison/external.py": "cli/test_compare.py",
    "comparison/known_figures.py": "cli/test_extension_flags.py",
    "comparison/packing.py": "comparison/test_packs.py",
    "comparison/page.py": "comparison/test_report_in_browser.py",
    "comparison/ranks.py": "comparison/test_statistics.py",
    "comparison/record_digests.py": "comparison/test_packs.py",
    "comparison/record_slices.py": "comparison/test_groups.py",
    "comparison/significance.py": "comparison/test_statistics.py",
    "comparison/slices.py": "cli/test_compare.py",
    "comparison/systems.py": "cli/test_compare.py",
    "comparison/tables.py": "cli/test_compare.py",
    "comparison/word_hits.py": "cli/test_compare.py",
    "compat/matplotlib.py": "compat/test_others.py",
    "compat/omegaconf.py": "compat/test_hydra.py",
    "compat/python.py": "compat/test_others.py",
    "compat/sentencepiece.py": "compat/test_others.py",
    "config/validate.py": "config/test_instantiate.py",
    "config/definitions.py": "config/test_signatures.py",
    "data/caption_split.py": "data/test_captions.py",
    "data/data_source.py": "data/test_corpus.py",
    "data/encoding.py": "data/test_corpus.py",
    "data/image_records.py": "data/test_captions.py",
    "data/batch_loading.py": "data/test_corpus.py",
    "data/readers/columns.py": "data/readers/test_text.py",
    "data/readers/hub.py": "data/readers/test_text.py",
    "data/readers/reader.py": "data/readers/test_text.py",
    "data/readers/tables.py": "data/readers/test_text.py",
    "data/records.py": "data/test_malformed.py",
    "data/split_store.py": "data/test_corpus.py",
    "data/streaming.py": "data/test_corpus.py",
    "data/text.py": "data/test_corpus.py",
    "data/tokenizer_store.py": "data/test_corpus.py",
    "data/tokenizer_training.py": "data/test_tokenizer.py",
    "data/toy/captioning.py": "data/toy/test_scenes.py",
    "data/toy/generated.py": "data/toy/test_translation.py",
    "data/toy/grammar.py": "data/toy/test_translation.py",
    "data/toy/lexicon.py": "data/toy/test_translation.py",
    "data/toy/reports.py": "data/toy/test_summarisation.py",
    "decoders/bridge.py": "decoders/test_rnn.py",
    "encoders/base.py": "encoders/test_rows.py",
    "encoders/document.py": "encoders/test_rows.py",
    "encoders/patches.py": "encoders/test_image.py",
    "encoders/video.py": "test_captions.py",
    "errors.py": "test_commands.py",
    "layers/stack.py": "layers/test_transformer.py",
    "loss/criterion.py": "test_loss.py",
    "loss/cross_entropy.py": "test_loss.py",
    "loss/passes.py": "loss/test_estimators.py",
    "loss/terms.py": "test_loss.py",
    "metrics/likelihood.py": "metrics/test_translation.py",
    "metrics/links.py": "metrics/test_alignment.py",
    "metrics/metric.py": "metrics/test_resampling.py",
    "metrics/rewards.py": "training/test_self_critical.py",
    "plots/excerpt.py": "plots/test_document.py",
    "plots/fonts.py": "plots/test_heatmap.py",
    "plots/running.py": "plots/test_document.py",
    "plots/saving.py": "plots/test_heatmap.py",
    "plots/sentence.py": "plots/test_heatmap.py",
    "plots/shading.py": "plots/test_page.py",
    "search/base.py": "search/test_modes.py",
    "search/second_pass.py": "evaluation/test_controls.py",
    "search/token_loop.py": "search/test_sample.py",
    "stored/config.py": "test_stored_configs.py",
    "stored/machine.py": "test_stored_configs.py",
    "tasks/base.py": "tasks/test_tasks.py",
    "tasks/captioning.py": "golden/test_captioning.py",
    "tasks/summarisation.py": "golden/test_summarisation.py",
    "tasks/translation.py": "golden/test_translation.py",
    "training/callbacks/attention_plots.py": "cli/test_training_and_use.py",
    "training/callbacks/overfit.py": "training/test_debug.py",
    "training/callbacks/profiler.py": "training/test_debug.py",
    "training/callbacks/throughput.py": "training/test_fit.py",
    "training/datamodule.py": "training/test_resume.py",
    "training/distributed.py": "training/test_ddp.py",
    "training/frozen.py": "cli/test_initial_model.py",
    "training/launch.py": "training/test_ddp.py",
    "training/metric_accumulator.py": "training/test_validation.py",
    "training/module.py": "training/test_update.py",
    "training/optimization.py": "training/test_gradients.py",
    "training/trainer_parts.py": "training/test_options.py",
}
"""Test file of each module that has no test file of its name."""


def own_test_file(module: str) -> Path:
    """Return the path of the test file that has the name of a module."""
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.name}"


def test_every_module_has_tests() -> None:
    package = ROOT / "seq2seq"
    modules = {str(file.relative_to(package)) for file in package.rglob("*.py") if file.name != "__init__.py"}
    without = {module for module in modules if not own_test_file(module).exists()}
    assert without - TESTED_BY.keys() == set(), (
        "write tests/.../test_NAME.py, or add the module and its test file to TESTED_BY"
    )
    assert TESTED_BY.keys() - without == set(), (
        "the module has a test file of its name, or does not exist: remove it from TESTED_BY"
    )


@pytest.mark.parametrize("file", sorted(set(TESTED_BY.values())))
def test_listed_test_files_exist(file: str) -> None:
    assert (ROOT / "tests" / file).is_file()
