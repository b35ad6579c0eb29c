"""Measure the speed of this application; docs/speed.md describes the comparisons.

    train, decode: training and decoding, compared with JoeyNMT
    attention: attention over the length of a source
    documents: updates on one long document

    python scripts/benchmark.py train --data DIR --peer-python joey/bin/python
    python scripts/benchmark.py decode --data DIR --peer-python joey/bin/python
    python scripts/benchmark.py attention --plot docs/attention_speed.png
    python scripts/benchmark.py documents --lengths 4000 16000

Print Markdown tables. No other program should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import attention_scaling
import documents
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from peers import seq2seq_worker
from peers.benchmark_runner import PEER, Figures, Side, compare, contest

from seq2seq.cli.hydra_app import explain
from seq2seq.config.instantiate import build_node
from seq2seq.errors import UserError

JOEY = "joeynmt==2.3.0"
INSTALL = (
    f"python3 -m venv joey && joey/bin/pip install {JOEY} torch==2.13.0 sentencepiece==0.2.0 importlib_metadata "
    "setuptools, then --peer-python joey/bin/python"
)
MODELS = {
    "train": tuple(seq2seq_worker.MODELS),
    "decode": ("transformer", "rnn-additive"),
}  # defaults of --models
ATTENTION = ("curves", "additive", "weights")
SIDES = "choices of conf/self_attention, for the encoder (default: %(default)s)"
TOLD = ("what", "data", "warmup", "steps", "batch_tokens", "sentences", "length", "beam", "peer_batch")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: Command line; None = ``sys.argv``.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True, metavar="train|decode|attention|documents")

    # Options of several commands.
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument(
        "--threads", type=positive, default=cores(), help="CPU threads of each side (default: all cores)"
    )
    every.add_argument("--output", metavar="FILE.json", type=Path, help="file for the figures of all rounds")
    both = argparse.ArgumentParser(add_help=False, parents=[every])
    both.add_argument("--data", metavar="DIR", help="folder with {train,val,test}.{en,de} (default: from the hub)")
    both.add_argument(
        "--peer-python", metavar="FILE", help=f"Python with {JOEY} (default: measure only this application)"
    )
    both.add_argument(
        "--models", nargs="+", choices=seq2seq_worker.MODELS, metavar="MODEL", help=", ".join(seq2seq_worker.MODELS)
    )
    both.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="options of this application, to try them"
    )

    # Training.
    train = commands.add_parser("train", parents=[both], help="target tokens per second in training")
    train.add_argument("--rounds", type=positive, default=4)
    train.add_argument("--steps", type=positive, default=4, help="optimiser steps per round")
    train.add_argument("--warmup", type=positive, default=3, help="optimiser steps before the first round")
    train.add_argument(
        "--batch-tokens", type=positive, default=4096, help="size of a batch: rows x longest side, with padding"
    )

    # Decoding.
    decode = commands.add_parser("decode", parents=[both], help="translations per second by beam search")
    decode.add_argument("--rounds", type=positive, default=3)
    decode.add_argument("--sentences", type=positive, default=500, help="test sentences per round (of 1000)")
    decode.add_argument("--warmup", type=positive, default=64, help="sentences before the first round")
    decode.add_argument("--length", type=positive, default=15, help="tokens of each output, without </s>")
    decode.add_argument("--beam", type=positive, default=5)
    decode.add_argument("--peer-batch", type=positive, default=64, help=f"sentences per batch of {PEER}")

    # Attention.
    attention = commands.add_parser("attention", parents=[every], help="time and memory of attention over S")
    attention.add_argument("--rounds", type=positive, default=5)
    attention.add_argument("--lengths", type=positive, nargs="+", default=[2**n for n in range(10, 15)], metavar="S")
    attention.add_argument(
        "--sides", nargs="+", metavar="'NAME KEY=VALUE ...'", help="choices of conf/self_attention (default: all)"
    )
    attention.add_argument("--window", type=positive, default=128, help="positions that windows see on each side")
    attention.add_argument("--width", type=positive, default=512)
    attention.add_argument("--heads", type=positive, default=8)
    attention.add_argument(
        "--causal", action="store_true", help="measure a decoder's self-attention (default: an encoder's)"
    )
    attention.add_argument("--only", nargs="+", choices=ATTENTION, default=ATTENTION, help=", ".join(ATTENTION))
    attention.add_argument("--compile", action="store_true", help="also measure the additive forms with torch.compile")
    attention.add_argument("--gibibytes", type=float, default=memory() / 2, help="memory limit of all sides together")
    attention.add_argument("--plot", metavar="FILE.png", type=Path, help="file for a plot of the curves over S")

    # Documents.
    long = commands.add_parser("documents", parents=[every], help="time and memory of an update on one long document")
    long.add_argument("--rounds", type=positive, default=1)
    long.add_argument("--lengths", type=positive, nargs="+", default=[1000, 2000, 4000, 8000, 16000], metavar="S")
    long.add_argument("--sides", nargs="+", default=documents.SIDES, metavar="'NAME KEY=VALUE ...'", help=SIDES)
    long.add_argument("--targets", type=positive, default=100, help="tokens of the summary")
    long.add_argument("--vocabulary", type=positive, default=8000)
    long.add_argument(
        "--set",
        nargs="+",
        default=["model.dim=256", "model.heads=8", "model.ff_dim=1024"],
        metavar="KEY=VALUE",
        help="options of train.py model=transformer (default: %(default)s)",
    )
    long.add_argument(
        "--gibibytes", type=float, default=0.9 * memory(), help="memory limit; larger updates are not run"
    )

    options = parser.parse_args(arguments)
    if options.what in MODELS:
        options.models = options.models or MODELS[options.what]
    return options


def positive(text: str) -> int:
    """Return an argument as a whole number of at least 1.

    Args:
        text: Argument of the command line.

    Raises:
        argparse.ArgumentTypeError: The text is no such number.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number of at least 1")
    return int(text)


def run(options: argparse.Namespace) -> Figures:
    """Measure what the options ask for.

    Args:
        options: Parsed command line.

    Returns:
        Date, command and machine, with the figures: ``models``, ``curves``, ``additive``, ``weights`` or ``documents``.
    """
    # Describe the machine before the load of the measurements.
    host = machine(options.threads)
    if host["load_before"] > 0.5:
        print(
            f"warning: the machine is busy (load {host['load_before']}); measured speeds will be too low",
            file=sys.stderr,
        )

    # Measure.
    if options.what == "attention":
        found = attend(options)
    elif options.what == "documents":
        found = {"documents": read(options)}
    else:
        found = {"models": compete(options)}
    command = shlex.join(["python", "scripts/benchmark.py", *sys.argv[1:]])
    return {"date": date.today().isoformat(), "command": command, "machine": host, **found}


def compete(options: argparse.Namespace) -> Figures:
    """Compare training or decoding speed, one model after the other.

    Args:
        options: Parsed command line.

    Returns:
        {model: figures of each side}.
    """
    if options.peer_python:
        check_peer(options.peer_python)
    models = {}
    with tempfile.TemporaryDirectory() as name:
        # All models and sides read the same data.
        seq2seq_worker.export(
            build_node(seq2seq_worker.config_of(options.models[0], options.data, *options.set).data), Path(name)
        )
        task = {key: value for key, value in vars(options).items() if key in TOLD}

        # Measure the models.
        for model in options.models:
            about = {**task, "model": model, "folder": name, "overrides": options.set}
            models[model] = contest(sides(options, model), about, options.rounds, options.threads, Path(name))
            compare(models[model])
    return models


def attend(options: argparse.Namespace) -> Figures:
    """Measure attention over S, the forms of additive attention, and the cost of returning weights.

    Args:
        options: Parsed command line.
    """
    sizes = {"width": options.width, "heads": options.heads}
    found: Figures = {**sizes, "causal": options.causal}
    with tempfile.TemporaryDirectory() as name:
        common = {"rounds": options.rounds, "threads": options.threads, "folder": Path(name)}

        # Self-attention over S.
        if "curves" in options.only:
            names = options.sides or attention_scaling.choices(options.window, **sizes, causal=options.causal)
            attention_scaling.check(names)
            bytes_ = options.gibibytes * 2**30
            task = {**sizes, "causal": options.causal, "bytes_": bytes_}
            found["curves"] = attention_scaling.over_lengths(sorted(options.lengths), names, **common, **task)

        # Forms of additive attention, and returned weights.
        if "additive" in options.only:
            found["additive"] = attention_scaling.additive(**common, compiled=options.compile)
        if "weights" in options.only:
            found["weights"] = attention_scaling.weights(**common, **sizes)
    return found


def read(options: argparse.Namespace) -> list[Figures]:
    """Measure updates on long documents.

    Args:
        options: Parsed command line.
    """
    attention_scaling.check(options.sides, also=())
    task = {"targets": options.targets, "vocabulary": options.vocabulary, "overrides": options.set}
    with tempfile.TemporaryDirectory() as name:
        limits = {"rounds": options.rounds, "threads": options.threads, "gibibytes": options.gibibytes}
        return documents.measure(options.lengths, options.sides, folder=Path(name), **limits, **task)


def sides(options: argparse.Namespace, model: str) -> list[Side]:
    """Return the sides to compare; JoeyNMT supports only fp32 on a CPU.

    Args:
        options: Parsed command line.
        model: Name of the model.
    """
    # Only training of the Transformer is measured in bf16 too.
    precisions = ("fp32", "bf16") if (options.what, model) == ("train", "transformer") else ("fp32",)
    here = [Side("this", precision, (sys.executable, "-m", "peers.seq2seq_worker")) for precision in precisions]
    return here + (
        [Side(PEER, "fp32", (options.peer_python, "-m", "peers.joeynmt_worker"))] if options.peer_python else []
    )


def check_peer(python: str) -> None:
    """Check that an interpreter has the right version of JoeyNMT.

    Args:
        python: Path of the interpreter.

    Raises:
        UserError: The interpreter does not start or has another version.
    """
    ask = "from importlib.metadata import version; print('joeynmt==' + version('joeynmt'))"
    try:
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"--peer-python {python}: {error.strerror}; to install it: {INSTALL}") from error
    if (found := answer.stdout.strip()) != JOEY:
        raise UserError(f"--peer-python {python} has {found or 'no joeynmt'}, not {JOEY}; to install it: {INSTALL}")


def machine(threads: int) -> Figures:
    """Return a description of this machine.

    Args:
        threads: Number of CPU threads that are used.
    """
    info = Path("/proc/cpuinfo")
    # Linux gives the name of the processor here; other systems by the platform module.
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": cores(),
        "threads": threads,
        "system": platform.platform(terse=True),
        "load_before": round(os.getloadavg()[0], 2),
    }


def memory() -> float:
    """Return the memory of this machine, in gibibytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def head(report: Figures, results: Iterable[Figures]) -> str:
    """Return the machine, the versions, the date and the command of the measurements, in Markdown.

    Args:
        report: Result of ``run``.
        results: Figures of sides, with ``versions``.
    """
    host = report["machine"]
    machine = f"{host['processor']}, {host['threads']} threads of {host['cores']} cores"
    versions = dict.fromkeys(f"{name} {version}" for r in results for name, version in r["versions"].items())
    return f"{machine}; {', '.join(versions)}; {report['date']}\n\n    {report['command']}\n"


def table(report: Figures) -> str:
    """Return the comparisons of ``train`` or ``decode`` as a table in Markdown.

    Args:
        report: Result of ``run``.
    """
    contests = report["models"].items()
    lines = [
        head(report, (r for _, results in contests for r in results)),
        "| model | parameters | side | tokens/s | sentences/s | ratio | min to max |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for model, results in contests:
        for r in results:
            sentences = f"{r['sentences_per_second']:.1f}" if "sentences_per_second" in r else ""
            ratio = "{median:.2f} | {min:.2f} to {max:.2f}".format(**r["ratio"]) if "ratio" in r else " | "
            who = f"{r['parameters'] / 1e6:.2f} M | {r['side']} {r['precision']}"
            lines.append(f"| {model} | {who} | {r['tokens_per_second']:.0f} | {sentences} | {ratio} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line program.

    Args:
        arguments: Command line; None = ``sys.argv``.
    """
    options = parse(arguments)
    try:
        # Measure and save.
        report = run(options)
        if options.output:
            options.output.write_text(json.dumps(report, indent=2) + "\n")

        # Print tables.
        if options.what == "attention":
            print(head(report, attention_scaling.measured(report)), attention_scaling.tables(report), sep="\n")
            if options.plot and "curves" in report:
                attention_scaling.plot(report, options.plot)
        elif options.what == "documents":
            results = report["documents"]
            print(head(report, (r for r in results if "versions" in r)), documents.table(results), sep="\n")
        else:
            print(table(report))
    except KeyboardInterrupt:
        sys.exit(130)
    except (UserError, OSError, HydraException, OmegaConfBaseException) as error:
        sys.exit(f"benchmark.py: {explain(error)}")
    if options.what in MODELS and not options.peer_python:
        print(f"\nOnly this application was measured. To compare with {PEER}: {INSTALL}", file=sys.stderr)


if __name__ == "__main__":
    main()
