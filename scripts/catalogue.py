"""Write the tables of docs/catalogue.md, with all mechanisms of conf/attention and conf/self_attention.

    python scripts/catalogue.py multirun/DATE_TIME ...   # add the results of the runs in these directories
    python scripts/catalogue.py --speed                  # measure speed and memory (minutes, on an idle machine)
    python scripts/catalogue.py                          # use the stored results, after a change of a YAML

The first two lines of a YAML give idea, paper and purpose of a mechanism. All results are stored in
docs/catalogue.json, where new results replace old ones. The text between the tables is written by hand and stays
unchanged.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmark import cores, machine, positive

from seq2seq.comparison.packs import find
from seq2seq.config.instantiate import CONF, synonym_of
from seq2seq.errors import UserError

Figures = dict[str, Any]
PAGE = CONF.parent / "docs" / "catalogue.md"
SLOTS = {"attention": "additive", "self_attention": None}
MODELS = {"rnn": {"attention": "additive", "self_attention": None}}
MODELS["transformer"] = {"attention": "multi_head", "self_attention": "multi_head"}
"""Default choice of each model for each slot."""
MAIN, PROBES = "toy_translation", ("copy", "reverse", "sort", "insert", "needle")
METRICS = ("bleu", "aer", "attention_entropy", "accuracy")
RECIPE = {"attention", "self_attention", "model", "trainer"}
"""Options in which compared runs may differ, besides those without an effect (``comparison.runs.BESIDE``)."""
MEBIBYTE = 2**20
FOR = "# For: "
MARK = r"<!-- table: (?P<region>[\w ]+) -->"


@dataclass(frozen=True)
class Entry:
    """A file of conf/attention or conf/self_attention."""

    name: str
    idea: str  # name, equation or idea, paper: line 1 of the file
    purpose: str  # line 2 of the file
    same_as: str | None = None  # the file of which this one is a synonym

    @staticmethod
    def read(file: Path) -> Entry:
        """Read the entry of a file.

        Args:
            file: A YAML.

        Raises:
            UserError: One of the first two lines has a wrong form.
        """
        idea, purpose, *_ = [*file.read_text(encoding="utf-8").splitlines(), "", ""]
        if not idea.startswith("# ") or not purpose.startswith(FOR):
            raise UserError(f"{file}: line 1 must be '# Name: idea (paper)' and line 2 '{FOR}purpose'")
        return Entry(file.stem, idea[2:], purpose.removeprefix(FOR), synonym_of(file))


def entries(slot: str) -> list[Entry]:
    """Return the entries of a slot, in the order of their names.

    Args:
        slot: ``attention`` or ``self_attention``.
    """
    return [Entry.read(file) for file in sorted((CONF / slot).glob("*.yaml"))]


def runs(directories: Sequence[Path]) -> Iterator[tuple[tuple[str, str, str, str], Figures]]:
    """Yield (data, slot, model, name) and the figures of all runs that follow the common recipe.

    Args:
        directories: Directories of runs, or folders of such directories.
    """
    for run in find(directories, "test"):
        # Leave out runs with other options.
        if other := [f"{key}={value}" for key, value in run.facets.items() if key not in RECIPE]:
            print(f"{run.path}: left out; not the common recipe: {', '.join(other)}", file=sys.stderr)
            continue

        # Find the slots for which the run counts.
        scores = {name: run.results[name]["score"] for name in METRICS if name in run.results}
        figures = {"seed": run.seed, "parameters": run.about["parameters"], **scores}
        model = run.facets["model"]
        slots = placed(model, run.facets["attention"], run.facets.get("self_attention"))
        if not slots:
            print(f"{run.path}: left out; attention and self_attention both differ from the default", file=sys.stderr)
        for slot, name in slots.items():
            yield (run.dataset, slot, model, name), figures


def placed(model: str, attention: str, self_attention: str | None) -> dict[str, str]:
    """Return {slot: name} for the slots that a run measures: those whose other slot has its default.

    Args:
        model: ``rnn`` or ``transformer``.
        attention: Choice of ``attention=``.
        self_attention: Choice of ``self_attention=``; None = the default of the model.
    """
    usual, chosen = MODELS[model], {"attention": attention, "self_attention": self_attention}
    chosen["self_attention"] = self_attention or usual["self_attention"]
    pairs = (("attention", "self_attention"), ("self_attention", "attention"))
    return {slot: name for slot, other in pairs if (name := chosen[slot]) and chosen[other] == usual[other]}


def add_runs(store: Figures, directories: Sequence[Path]) -> None:
    """Add the figures of runs to the store; a run replaces the stored one of the same seed.

    Args:
        store: Stored results, changed in place.
        directories: Directories of runs, or folders of such directories.
    """
    for (data, slot, model, name), figures in runs(directories):
        # Replace the run of the same seed.
        node = store.setdefault("runs", {}).setdefault(data, {}).setdefault(slot, {}).setdefault(model, {})
        others = [run for run in node.get(name, []) if run["seed"] != figures["seed"]]
        node[name] = sorted([*others, figures], key=lambda run: run["seed"])


def add_speed(store: Figures, rounds: int, threads: int) -> None:
    """Measure speed and memory of all mechanisms in both models, without synonyms.

    Args:
        store: Stored results, changed in place.
        rounds: Number of measured rounds.
        threads: Number of CPU threads.
    """
    # Import here, because only --speed needs torch.
    import mechanism_speed
    import torch

    from seq2seq.runtime.memory import keep_freed

    keep_freed()  # as training does
    torch.set_num_threads(threads)
    host = machine(threads)
    if host["load_before"] > 0.5:
        print(
            f"warning: the machine is busy (load {host['load_before']}); measured speeds will be too low",
            file=sys.stderr,
        )

    # Measure; synonyms have the figures of their mechanism.
    speed: Figures = {"date": date.today().isoformat(), "machine": host, "torch": torch.__version__}
    for slot in SLOTS:
        names = [entry.name for entry in entries(slot) if entry.same_as is None]
        speed[slot] = {model: mechanism_speed.measure(slot, model, names, rounds) for model in MODELS}
    store["speed"] = speed


def tables(store: Figures) -> dict[str, str]:
    """Return {name of a table: Markdown}.

    Args:
        store: Stored results.
    """
    made = {"measured": measured(store)}
    for slot in SLOTS:
        listed = entries(slot)
        made[slot] = markdown(["config", "idea (paper)", "for"], [described(slot, entry) for entry in listed])
        for model in MODELS:
            made[f"{slot} {model}"] = figures(store, slot, model, listed)
    for model in MODELS:
        made[f"probes {model}"] = probes(store, model)
    return made


def described(slot: str, entry: Entry) -> list[str]:
    """Return the row of a mechanism in the table of ideas.

    Args:
        slot: ``attention`` or ``self_attention``.
        entry: The mechanism.
    """
    idea = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", entry.idea)
    return [f"`{slot}={entry.name}`", idea, entry.purpose]


def measured(store: Figures) -> str:
    """Return a sentence about the machine on which speed was measured.

    Args:
        store: Stored results.
    """
    if (speed := store.get("speed")) is None:
        return "Speed has not been measured yet: `python scripts/catalogue.py --speed`."
    host = speed["machine"]
    about = f"{host['processor']}, {host['threads']} threads of {host['cores']} cores, torch {speed['torch']}"
    return f"Speed and memory: {about}, {speed['date']}."


def figures(store: Figures, slot: str, model: str, listed: Sequence[Entry]) -> str:
    """Return the table of scores, speed and memory of the mechanisms in a model, in Markdown.

    Args:
        store: Stored results.
        slot: ``attention`` or ``self_attention``.
        model: ``rnn`` or ``transformer``.
        listed: The mechanisms.
    """
    scored = store.get("runs", {}).get(MAIN, {}).get(slot, {}).get(model, {})
    speed = store.get("speed", {}).get(slot, {}).get(model, {})
    rows, refused = [], []
    for entry in listed:
        if entry.same_as:
            rows.append([f"`{entry.name}`", f"= `{entry.same_as}`", *[""] * 5])
            continue

        # A mechanism that the model refuses is listed below the table.
        done, pace = scored.get(entry.name, []), speed.get(entry.name, {})
        if "refused" in pace and not done:
            refused.append(f"`{entry.name}`: {pace['refused']}")

        # Scores come from runs, speed and memory from --speed.
        parameters = done[0]["parameters"] if done else pace.get("parameters")
        row = [f"`{entry.name}`", f"{parameters:,}" if parameters else ""]
        row += [mean(done, metric) for metric in METRICS[:3]] if done else ["not run", "", ""]
        row += [f"{pace['relative']:.2f}" if "relative" in pace else ""]
        row += [f"{pace['peak'] / MEBIBYTE:.0f}" if "peak" in pace else ""]
        rows.append(row)

    # Put the table together.
    plain = {"attention": "dot", "self_attention": "multi_head"}[slot]
    head = ["config", "parameters", "BLEU", "AER", "entropy, nats", f"tokens/s, `{plain}` = 1", "memory, MiB"]
    text = markdown(head, rows, right=6)
    return text + ("\n\nRefused: " + "; ".join(refused) + "." if refused else "")


def probes(store: Figures, model: str) -> str:
    """Return the table of BLEU and AER at unseen lengths, of mechanisms with runs, in Markdown.

    Args:
        store: Stored results.
        model: ``rnn`` or ``transformer``.
    """
    kept = {
        probe: store.get("runs", {}).get(f"probe_{probe}", {}).get("attention", {}).get(model, {}) for probe in PROBES
    }
    # List every mechanism that has a run on some probe.
    names = sorted({name for runs in kept.values() for name in runs})
    if not names:
        return "Not run yet."
    rows = []
    for name in names:
        cells = [kept[probe].get(name, []) for probe in PROBES]
        both = [f"{mean(runs, 'bleu')} ({mean(runs, 'aer')})" if runs else "not run" for runs in cells]
        rows.append([f"`{name}`", *both])
    return markdown(["config", *PROBES], rows, right=len(PROBES))


def mean(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Return mean ± standard deviation over seeds, or a dash if a run lacks the metric.

    Args:
        runs: Figures of runs that differ in their seed.
        metric: Name of the metric.
    """
    values = [run[metric] for run in runs if metric in run]
    if len(values) < len(runs):
        return "–"
    # Percentages need fewer digits than rates.
    digits = 1 if max(values) > 10 else 3
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> str:
    """Return a table in Markdown.

    Args:
        head: Names of the columns.
        rows: Cells of each row.
        right: Number of last columns that are right-aligned.
    """
    ruler = ["---"] * (len(head) - right) + ["---:"] * right
    lines = ([cell.replace("|", "\\|") for cell in row] for row in (head, ruler, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(page: str, made: Mapping[str, str]) -> str:
    """Return the page with new tables between its marks.

    Args:
        page: Text of the page.
        made: {name of a table: Markdown}.

    Raises:
        UserError: The page marks a table that is not in ``made``.
    """

    def fill(mark: re.Match[str]) -> str:
        if mark["region"] not in made:
            raise UserError(f"{PAGE.name}: unknown table {mark['region']!r}; use one of {', '.join(made)}")
        return f"{mark['begin']}\n\n{made[mark['region']]}\n\n{mark['end']}"

    return re.sub(rf"(?P<begin>{MARK})\n.*?(?P<end><!-- end -->)", fill, page, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line program.

    Args:
        arguments: Command line; None = ``sys.argv``.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directories", nargs="*", type=Path, metavar="DIR", help="directories of runs to add, or folders of them"
    )
    parser.add_argument("--speed", action="store_true", help="measure speed and memory")
    parser.add_argument("--rounds", type=positive, default=5, help="measured rounds of --speed")
    parser.add_argument("--threads", type=positive, default=cores(), help="CPU threads of --speed (default: all cores)")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write; figures are stored beside it, as .json")
    options = parser.parse_args(arguments)
    kept = options.page.with_suffix(".json")
    try:
        # Read the page and the stored figures.
        page = options.page.read_text(encoding="utf-8")
        if not re.search(MARK, page):
            raise UserError(f"{options.page}: no table; mark one with <!-- table: NAME --> ... <!-- end -->")
        store = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}

        # Add new figures.
        add_runs(store, options.directories)
        if options.speed:
            add_speed(store, options.rounds, options.threads)

        # Write both.
        page = filled(page, tables(store))
        kept.write_text(json.dumps(store, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        options.page.write_text(page, encoding="utf-8")
    except UserError as error:
        sys.exit(f"catalogue.py: {error}")
    except OSError as error:
        sys.exit(f"catalogue.py: {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
