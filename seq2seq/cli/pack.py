"""``compare.py runs=DIR pack=DIR``: keep the results of finished runs in a folder of small files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seq2seq.comparison.packing import Pack, pack
from seq2seq.comparison.packs import pack_files
from seq2seq.comparison.runs import Run, finished, name_damaged_files, unfinished
from seq2seq.comparison.systems import repeated
from seq2seq.config.extensions import command
from seq2seq.errors import UserError
from seq2seq.files.writing import write_bytes
from seq2seq.metrics.table import get_metric
from seq2seq.run_directory import RESULTS

MAX_FOLDER = 10_000_000  # largest size of all packs of a folder, in bytes
EXACT = 52  # bits of the mantissa of a float
GENERATED = "seq2seq.data.toy."
"""Module of the readers that generate their data, with gold annotations."""


def pack_runs(paths: Sequence[Path], folder: Path, limit: int) -> Path:
    """Write a pack of each finished run into a folder. If one run is refused, no pack is written.

    Args:
        paths: Runs, sweeps and evaluations, or folders that contain them.
        folder: New folder, or folder of packs.
        limit: Largest size of a pack in bytes.

    Returns:
        ``folder``.

    Raises:
        UserError: There is no finished run, a pack is too large, or ``folder`` has another pack of the same name.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"pack={folder} is a file; choose a folder")
    if not paths:
        raise UserError(f"runs: no run to keep in pack={folder}; name runs or sweeps")
    # Packs can't be packed again.
    if all(pack_files(path) and next(path.rglob(RESULTS), None) is None for path in paths):
        raise UserError(f"runs: {paths[0]} contains only packs, which can't be packed again; name runs or sweeps")
    # 1. Pack all runs. The latest run of the same configuration, seed and data is kept, as in a comparison.
    packed_runs = []
    for path in finished(paths):
        with name_damaged_files([path]):
            packed_runs.append(pack(path, limit))
    packed_runs.sort(key=lambda packed: (packed.run.written, str(packed.run.path)))
    packs = {packed.name: packed for packed in packed_runs}
    runs = [packed.run for packed in packed_runs]
    # 2. Refuse a pack that would replace another run, and too many bytes for a repository.
    for name, packed in packs.items():
        if (file := folder / name).exists() and file.read_bytes() != packed.content:
            raise UserError(
                f"{file} is another pack of the configuration and seed of {packed.run.path}; remove it, or choose "
                "another folder"
            )
    kept = {file.name: file.stat().st_size for file in pack_files(folder)}
    total = sum((kept | {name: len(packed.content) for name, packed in packs.items()}).values())
    if total > MAX_FOLDER:
        raise UserError(
            f"pack={folder} would hold {total / 1e6:.1f} MB, more than {MAX_FOLDER / 1e6:g} MB; pack fewer runs"
        )
    # 3. Write the packs, and print what they lack.
    for name, packed in packs.items():
        write_bytes(folder / name, packed.content)
        print(f"{folder / name}  {len(packed.content) / 1000:.1f} kB  {packed.run.path}")
    for note in [*unfinished(paths), *repeated(runs), *_rounded(packs.values()), *missing_figures(runs)]:
        print(note)
    print(f"packs  {folder}: {len(packs)} written, {total / 1000:.0f} kB in all")
    return folder


def missing_figures(runs: Sequence[Run]) -> list[str]:
    """Return a note on each run that lacks figures. They can only be measured while the weights of the run exist.

    A run needs the metrics of its task, the metrics that other runs on the same dataset have, faithfulness and
    statistics of attention. A run on data that the project generates also needs figures of gold annotations.

    Args:
        runs: Runs and evaluations. An evaluation is skipped, because its options chose its figures.
    """
    notes = []
    for run in runs:
        if run.trained != run.path or run.origin is None:
            continue
        # List the metrics that the run lacks.
        config = run.origin.config
        alike = [other for other in runs if (other.dataset, other.split) == (run.dataset, run.split)]
        named = [name for name in config.get("task", {}).get("metrics", ()) if isinstance(name, str)]
        wanted = dict.fromkeys([*named, *(m for a in alike for m in a.results)])
        absent = [name for name in wanted if not any(known.startswith(name) for known in run.results)]
        # List the groups of figures that it lacks.
        groups = {get_metric(name).group for name in run.results}
        generated = str(config.get("data", {}).get("reader", {}).get("_target_", "")).startswith(GENERATED)
        kinds = ("attention", "faithfulness", *(["gold"] if generated else []))
        absent += [f"figures of {kind}" for kind in kinds if kind not in groups]
        if absent:
            notes.append(
                f"{run.path} lacks {', '.join(absent)}; before the run is removed, measure them with "
                f"{command('evaluate')} checkpoint={run.path}, and pack that evaluation too."
            )
    return notes


def _rounded(packs: Iterable[Pack]) -> Iterator[str]:
    """Yield a note on each pack whose floats are rounded."""
    for packed in packs:
        sums, statistics = packed.bits
        if statistics < EXACT:
            what = "attention statistics" if sums == EXACT else "figures"
            yield f"{packed.name}: {what} of records are rounded to {statistics} bits; set a larger pack_size for more."
