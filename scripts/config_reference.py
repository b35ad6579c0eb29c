"""Write docs/reference/options.md from the files in conf/ and their comments.

    python scripts/config_reference.py           # write the page
    python scripts/config_reference.py --check   # exit with 1 if the page differs from the files

The first comment of a file describes the file. The comment on the line of an option, with the comment lines below it,
describes the option.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "reference" / "options.md"
COMMANDS = ("train", "resume", "evaluate", "generate", "compare")
HIDDEN = ("hydra", "base")
"""Folders whose files are no choices: help and logging of Hydra, and files that other files include."""
GLOBAL = "# @package _global_"
ABOUT = {
    "attention": "How the decoder attends to the source.",
    "attention/feature_map": "Feature maps of linear attention: a part of a mechanism.",
    "attention/normalizer": "How scores become weights: a part of a mechanism.",
    "attention/score": "How a query is compared with a position: a part of a mechanism.",
    "attention/selection": "Which weights make the context: a part of a mechanism.",
    "attention/window": "Which positions are visible: a part of a mechanism.",
    "data": "The dataset.",
    "debug": "Short runs that find mistakes.",
    "decoder": "The network that writes the output.",
    "decoding": "The search for outputs.",
    "encoder": "The network that reads the source.",
    "experiment": "Recipes: settings of several groups at once.",
    "logger": "Where the curves of training are written.",
    "lr_scheduler": "The learning rate over the updates.",
    "model": "Encoder, decoder and their sizes together.",
    "optimizer": "The optimiser.",
    "self_attention": "How a sequence attends to itself. `self_attention=` sets the encoder and the decoder, "
    "`self_attention@encoder_self=` and `self_attention@decoder_self=` one of them.",
    "task": "What sources and targets are.",
    "trainer": "The hardware and the length of training.",
}
INTRO = """# Options

<!-- written by: python scripts/config_reference.py -->

This page lists the files of `conf/`: the groups, the choices of each group, and all options with their defaults and
comments. `python scripts/config_reference.py` writes it.

- `GROUP=CHOICE` selects a file of a group, such as `attention=local`.
- `KEY=VALUE` sets an option, such as `optimizer.lr=0.001`. A class may have more options than its file lists; the
  [Python reference](api/attention.md) shows its arguments. A wrong option is refused before any data is read.
- A default `${model.dim}` takes the value of another option. `${oc.select:model.heads,4}` takes it where the option
  exists, and 4 elsewhere.
- `???` marks an option that has no default and must be set.
- An empty default is a node that holds the options below it.

[Commands](commands.md) explains how options are written on the command line.
"""


@dataclass
class Option:
    """An option of a file: its full key, its default as YAML and its comment."""

    key: str
    default: str
    comment: str


@dataclass
class ConfigFile:
    """A file of ``conf/``: its name, first comment, class, choices of other groups, and options."""

    name: str
    header: str = ""
    target: str = ""
    defaults: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)


def groups() -> list[str]:
    """Return the names of all groups that users choose from, such as ``attention/score``."""
    folders = (path for path in CONF.rglob("*") if path.is_dir())
    names = (path.relative_to(CONF) for path in folders if not set(HIDDEN) & set(path.relative_to(CONF).parts))
    return sorted(str(name) for name in names)


def read(file: Path) -> ConfigFile:
    """Return what a file says.

    Args:
        file: A YAML file of ``conf/``.
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = ConfigFile(file.stem, header=_header(lines))
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        return found
    group = file.parent.relative_to(CONF).as_posix()
    prefix = "" if lines[0] == GLOBAL or group == "." else group.removesuffix("/base").replace("/", ".")
    for key, value in root.value:
        if key.value == "defaults":
            found.defaults = [_choice(item) for item in value.value]
        elif key.value == "_target_":
            found.target = value.value
        elif key.value != "hydra":
            found.options += _options(f"{prefix}.{key.value}".lstrip("."), key, value, lines)
    found.options = [option for option in found.options if not option.key.endswith("_partial_")]
    return found


def _header(lines: Sequence[str]) -> str:
    """Return the comment at the top of a file as one line."""
    comments = []
    for line in lines:
        if not line.startswith("#"):
            break
        if line != GLOBAL:
            comments.append(line.removeprefix("#").strip())
    return " ".join(comments).replace(" For: ", ". For: ", 1)


def _choice(item: yaml.Node) -> str:
    """Return an entry of ``defaults`` as it is written on a command line: ``score=general``."""
    if isinstance(item, yaml.MappingNode):
        key, value = item.value[0]
        return f"{key.value.removeprefix('override ')}={value.value}"
    return str(item.value)


def _options(key: str, name: yaml.Node, value: yaml.Node, lines: Sequence[str]) -> Iterator[Option]:
    """Yield an option and those below it.

    Args:
        key: The full key.
        name: The node of the key.
        value: The node of the value.
        lines: All lines of the file.
    """
    if isinstance(value, yaml.MappingNode) and not value.flow_style:
        nested = list(value.value)
        targets = [item.value for part, item in nested if part.value == "_target_"]
        comment = _comment(lines, name.start_mark.line, name.end_mark.column)
        if targets or comment:
            yield Option(key, f"class {targets[0]}" if targets else "", comment)
        for part, item in nested:
            if part.value != "_target_":
                yield from _options(f"{key}.{part.value}", part, item, lines)
        return
    start, end = value.start_mark, value.end_mark
    default = "\n".join(lines)[_offset(lines, start) : _offset(lines, end)]
    yield Option(key, " ".join(default.split()), _comment(lines, end.line, end.column))


def _offset(lines: Sequence[str], mark: yaml.Mark) -> int:
    """Return the position of a mark in the text of all lines."""
    column: int = mark.column
    return sum(len(line) + 1 for line in lines[: mark.line]) + column


def _comment(lines: Sequence[str], number: int, column: int) -> str:
    """Return the comment at the end of a line, with the comment lines that go on with it.

    Args:
        lines: All lines of the file.
        number: The line on which the value ends.
        column: The column at which it ends.
    """
    found = re.search(r"#\s*(.*)$", lines[number][column:])
    parts = [found[1]] if found else []
    for line in lines[number + 1 :]:
        if not re.match(r"\s+#", line):
            break
        parts.append(line.strip().lstrip("#").strip())
    return " ".join(parts)


def cell(text: str, *, code: bool = False) -> str:
    """Return text for a cell of a Markdown table.

    Args:
        text: Plain text.
        code: Whether it stands in backticks.
    """
    if code and "|" in text:  # readers disagree on a pipe in backticks
        return f"<code>{text.replace('<', '&lt;').replace('|', '&#124;')}</code>"
    if code:
        return f"`{text}`" if text else ""
    text = text.replace("|", "\\|")
    # Escape what Markdown would read as HTML, emphasis or a link, outside of backticks.
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is; ``<`` has no escape with a backslash in all readers."""
    return re.sub(r"([*\[_])", r"\\\1", text).replace("<", "&lt;")


def options_table(options: Sequence[Option]) -> str:
    """Return the table of some options.

    Args:
        options: Options of one file.
    """
    rows = []
    for option in options:
        target = option.default.removeprefix("class ") if option.default.startswith("class ") else ""
        default = f"class `{target.rpartition('.')[2]}`" if target else cell(option.default, code=True)
        rows.append(f"| {cell(option.key, code=True)} | {default} | {cell(option.comment)} |")
    return "\n".join(["| option | default | description |", "|---|---|---|", *rows])


def file_section(group: str, found: ConfigFile, level: str) -> str:
    """Return the section of one file, or nothing where its line among the choices says all.

    Args:
        group: The group of the file.
        found: What the file says.
        level: The marks of the heading.
    """
    if not (found.options or found.defaults):
        return ""
    parts = [f"{level} {group}={found.name}"]
    if found.target:
        parts.append(f"Class `{found.target}`.")
    if chosen := [name for name in found.defaults if name != "_self_"]:
        parts.append("Includes " + ", ".join(f"`{name}`" for name in chosen) + ".")
    if found.options:
        parts.append(options_table(found.options))
    return "\n\n".join(parts)


def group_section(group: str) -> str:
    """Return the section of a group: its choices, then the options of each.

    Args:
        group: A folder of ``conf/``.
    """
    files = [read(file) for file in sorted((CONF / group).glob("*.yaml"))]
    rows = [f"| `{group}={found.name}` | {cell(found.header)} |" for found in files]
    parts = [f"## {group}", ABOUT[group], "\n".join(["| choice | description |", "|---|---|", *rows])]
    for base in sorted((CONF / group / "base").glob("*.yaml")):
        found = read(base)
        parts += [f"### {group}/base/{found.name}", cell(found.header)]
        parts += [file_section(group, found, "").partition("\n\n")[2]] if found.options else []
    parts += [section for found in files if (section := file_section(group, found, "###"))]
    return "\n\n".join(part for part in parts if part)


def command_section(name: str) -> str:
    """Return the section of a command's own options.

    Args:
        name: A file directly in ``conf/``.
    """
    found = read(CONF / f"{name}.yaml")
    title = "train.py resume=RUN" if name == "resume" else f"{name}.py"
    chosen = [entry for entry in found.defaults if entry != "_self_" and "hydra/" not in entry]
    parts = [f"## {title}", cell(found.header)]
    if chosen:
        parts.append("Groups: " + ", ".join(f"`{entry}`" for entry in chosen) + ".")
    return "\n\n".join([*parts, options_table(found.options)])


def page() -> str:
    """Return the page."""
    sections = [command_section(name) for name in COMMANDS] + [group_section(group) for group in groups()]
    return INTRO + "\n" + "\n\n".join(sections) + "\n"


def main() -> int:
    """Write the page, or compare it with the files; return the exit code."""
    # Read the options.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the page and write nothing")
    options = parser.parse_args()

    # Compare or write the page.
    if options.check:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(f"{PAGE.name} differs from conf/; python {Path(__file__).name} writes it", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
