"""Write docs/reference/options.md from the files in conf/ and their comments.

    python scripts/config_reference.py           # write the page
    python scripts/config_reference.py --check   # exit with 1 if the page differs from the files

``seq2seq.config.option_text`` reads the files; ``--help`` shows the same texts.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.config.instantiate import CONF
from seq2seq.config.option_text import ABOUT, ConfigFile, Option, groups, read

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "options.md"
COMMANDS = ("train", "resume", "evaluate", "generate", "compare")
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
    chosen = [entry for entry in found.defaults if not ("hydra/" in entry or "@_global_" in entry or entry == "_self_")]
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
