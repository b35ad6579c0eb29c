"""Contents of the first page of ``--help``: usage, commonest options and examples of each command.

The texts about the options themselves are the comments in ``conf``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Some groups and options under a title.

    Attributes:
        title: Title of the section.
        names: Groups (``attention/score``), nodes (``loss``) and options (``model.dim``) in their order.
    """

    title: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """First page of the help of a command.

    Attributes:
        usage: {command line: what it does}.
        groups: Config groups of the command; None for all.
        sections: Sections with the groups and the commonest options.
        examples: {command line: what it does}.
        end: Text below the examples.
    """

    usage: dict[str, str]
    groups: tuple[str, ...] | None
    sections: tuple[Section, ...]
    examples: dict[str, str]
    end: str


PAGES = {
    "train": Page(
        usage={
            "python train.py [GROUP=CHOICE ...] [KEY=VALUE ...]": "train one model, score it on the test split",
            "python train.py -m GROUP=A,B seed=1,2,3": "a sweep: one run for each combination",
            "python train.py resume=RUN [KEY=VALUE ...]": "continue a run (--help resume)",
        },
        groups=None,
        sections=(
            Section(
                "Model",
                (
                    *("model", "encoder", "decoder"),
                    *("model.dim", "model.embedding_dim", "model.layers", "model.dropout", "model.heads"),
                ),
            ),
            Section(
                "Attention",
                (
                    *("attention", "attention/score", "attention/window", "attention/normalizer"),
                    *("attention/selection", "attention/feature_map", "self_attention", "attention.heads"),
                    "model.attention_dropout",
                ),
            ),
            Section(
                "Data",
                (
                    *("data", "task", "data.path", "data.source", "data.target", "data.tokenizer.type"),
                    *("data.tokenizer.vocab_size", "data.max_tokens", "data.max_length", "data.workers"),
                    "task.metrics",
                ),
            ),
            Section(
                "Optimisation",
                (
                    *("optimizer", "lr_scheduler", "loss", "seed", "optimizer.lr", "optimizer.weight_decay"),
                    *("lr_scheduler.warmup_steps", "trainer.gradient_clip_val", "loss.label_smoothing"),
                ),
            ),
            Section(
                "Length and hardware",
                (
                    *("trainer", "budget", "trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
                    *("budget.updates", "budget.seconds", "trainer.devices", "trainer.precision"),
                    "trainer.accumulate_grad_batches",
                ),
            ),
            Section(
                "Validation, checkpoints, plots",
                (
                    *("logger", "training", "training.monitor", "training.patience", "training.validate_every"),
                    *("training.averaging", "training.init_from", "training.num_plots", "logger.wandb.offline"),
                ),
            ),
            Section(
                "Search for outputs",
                ("decoding", "decoding.beam_size", "decoding.length_penalty", "decoding.max_length"),
            ),
            Section("Recipes and short runs", ("recipe", "experiment", "debug")),
        ),
        examples={
            "python train.py": "an RNN with additive attention",
            "python train.py attention=local attention.window.reach=5": "another mechanism, one of its options",
            "python train.py attention=dot attention/window=local_m": "another part of a mechanism",
            "python train.py model=transformer attention=general": "any mechanism in a Transformer",
            "python train.py model=transformer self_attention=relative": "and in its self-attention",
            "python train.py data=parallel_text data.path=DIR data.source=en data.target=de": "your own text",
            "python train.py debug=batch": "try a command in seconds",
        },
        end="Any argument of a chosen class can be set, even one that is not listed. A wrong option is refused before "
        "data are read. Results go to runs/DATA/MODEL-ATTENTION/DATE_TIME (hydra.run.dir=DIR changes it), those of a "
        "sweep to multirun/DATE_TIME (hydra.sweep.dir=DIR).",
    ),
    "resume": Page(
        usage={"python train.py resume=RUN [KEY=VALUE ...]": "continue a run that was stopped"},
        groups=("trainer", "logger"),
        sections=(
            Section("Run", ("resume",)),
            Section(
                "Hardware, length and loggers (the default is the run's own value)",
                (
                    *("trainer", "logger", "trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
                    *("trainer.devices", "trainer.precision", "logger.wandb.offline"),
                ),
            ),
        ),
        examples={
            "python train.py resume=RUN": "go on to the end",
            "python train.py resume=RUN trainer=gpu": "on other hardware",
            "python train.py resume=RUN data.path=DIR": "the data have moved",
        },
        end="RUN is a run directory. All other options come from the run. data.path, data.cache and data.workers can "
        "be changed, too.",
    ),
    "evaluate": Page(
        usage={"python evaluate.py checkpoint=RUN [KEY=VALUE ...]": "metrics, outputs, alignments, plots"},
        groups=("data", "task", "decoding"),
        sections=(
            Section("Model and data", ("checkpoint", "split", "source_file", "target_file", "alignment", "reverse")),
            Section(
                "Work and results",
                (
                    *("device", "max_tokens", "output", "num_plots", "save_attention", "faithfulness_examples"),
                    *("plot_format", "plot_pieces", "verbose", "evaluation.control", "tune", "tune_metric"),
                ),
            ),
            Section(
                "Changes of the run's config (the default is the run's own value)",
                (
                    *("data", "data.path", "task", "task.metrics", "decoding", "decoding.beam_size"),
                    *("decoding.length_penalty", "decoding.max_length"),
                ),
            ),
        ),
        examples={
            "python evaluate.py checkpoint=RUN": "the test split, or valid without one",
            "python evaluate.py checkpoint=RUN split=valid decoding.beam_size=10": "another split, a wider search",
            "python evaluate.py checkpoint=RUN decoding=greedy": "another search",
            "python evaluate.py checkpoint=RUN source_file=new.en target_file=new.de": "new sentences",
            "python evaluate.py checkpoint=RUN split=null alignment=gold.jsonl": "alignment error rate",
            "python evaluate.py checkpoint=RUN data.path=DIR": "the same data in another place",
            "python evaluate.py -m checkpoint=RUN decoding.beam_size=1,5,10": "one evaluation for each value",
        },
        end="RUN is a run directory or a model's folder. Results go to RUN/evaluations/DATE_TIME, the table to stdout.",
    ),
    "generate": Page(
        usage={
            "python generate.py checkpoint=RUN < input.txt > output.txt": "write one output line for each input line"
        },
        groups=("decoding",),
        sections=(
            Section("Model and input", ("checkpoint", "input", "device", "max_tokens")),
            Section("Output", ("output", "format", "alignments", "plots", "plot_format", "plot_pieces", "mark_copied")),
            Section(
                "Search (the default is the run's own value)",
                (
                    *("decoding", "decoding.beam_size", "decoding.n_best", "decoding.length_penalty"),
                    *("decoding.min_length", "decoding.max_length", "decoding.no_repeat_ngram_size"),
                    "decoding.suppress_unk",
                ),
            ),
        ),
        examples={
            "python generate.py checkpoint=RUN": "prompt on a terminal",
            "python generate.py checkpoint=RUN input=in.txt output=out.jsonl": "outputs, scores, attention statistics",
            "python generate.py checkpoint=RUN decoding.n_best=3 format=jsonl < in.txt": "three outputs each",
            "python generate.py checkpoint=RUN decoding=sample decoding.temperature=0.7 < in.txt": "sampled outputs",
            "python generate.py checkpoint=RUN alignments=out.pharaoh plots=DIR < in.txt": "alignments and plots",
            "python generate.py checkpoint=RUN input='photos/*.jpg' plots=DIR": "captions of images",
        },
        end="RUN is a run directory or a model's folder. An empty line gives an empty line.",
    ),
    "compare": Page(
        usage={"python compare.py runs=DIR [KEY=VALUE ...]": "compare several runs: tables, tests, one page"},
        groups=(),
        sections=(
            Section("Runs", ("runs", "split", "references", "sources", "outputs", "attention")),
            Section("Statistics", ("metric", "baseline", "correction", "level", "samples", "quality")),
            Section("Report", ("output", "title", "examples", "pack", "pack_size")),
        ),
        examples={
            "python compare.py runs=multirun/2026-01-31_12-00-00": "all runs of a sweep",
            "python compare.py runs=[runs/toy_translation,other/run]": "runs of several directories",
            "python compare.py runs=DIR baseline='rnn additive'": "test all rows against one row",
            "python compare.py runs=DIR metric=chrf output=chrf": "another main metric",
            "python compare.py runs=DIR outputs.joeynmt=hypotheses.txt": "add outputs of another toolkit",
            "python compare.py runs=multirun/toy pack=results/toy": "small packs of the runs, without texts",
            "python compare.py runs=results/toy": "the same tables from these packs",
        },
        end="The table goes to stdout. All files go to output=report; open report/index.html in a browser.",
    ),
}
"""{name of the command's config: first page of its help}."""

MORE = {
    "--config-dir DIR": "add choices of your own: YAML files in DIR, in folders named as the groups",
    "trust=[PACKAGE]": "let configs name classes of PACKAGE, which is yours (in the current directory or installed)",
    "--help GROUP": "all choices and options of a group, such as --help {group}",
    "--help GROUP=CHOICE": "one choice with all its options, such as --help {choice}",
    "--help KEY": "one option, or all below a key, such as --help {key}",
    "list=GROUP": "only the names of the choices, one on a line; list=groups names the groups",
    "--cfg job, --info": "print the resulting config, or how it comes about, and stop",
    "--version": "print the versions of this program and its libraries",
}
"""{what to type: what it prints}, with the example of each command."""
SUCH_AS = {
    "train": {"group": "attention/window", "choice": "attention=local", "key": "training"},
    "resume": {"group": "trainer", "choice": "trainer=gpu", "key": "trainer.precision"},
    "evaluate": {"group": "decoding", "choice": "decoding=sample", "key": "evaluation"},
    "generate": {"group": "decoding", "choice": "decoding=sample", "key": "format"},
    "compare": {"key": "attention"},
}
