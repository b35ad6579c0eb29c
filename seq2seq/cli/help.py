"""Help of the commands: ``--help``, ``--help GROUP``, ``list=GROUP`` and ``--version``.

The texts are the comments of the files in ``conf``. Nothing is composed, so that help appears at once.
"""

from __future__ import annotations

import platform
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from seq2seq.cli.help_layout import by_choice, row, table
from seq2seq.cli.help_pages import MORE, PAGES, SUCH_AS
from seq2seq.cli.one_line import one_line
from seq2seq.config import option_text
from seq2seq.config.extensions import program
from seq2seq.config.option_text import ABOUT, ConfigFile, Option
from seq2seq.config.validate import suggest
from seq2seq.errors import UserError
from seq2seq.files.text import speak_utf8

WIDEST = 100  # characters of a line
NARROWEST = 60
FEW = 3  # choices whose different defaults are all shown
LIST = "list="
HOW = (
    "GROUP=CHOICE takes one file of a group, KEY=VALUE sets an option. Below are the groups and the commonest options; "
    "what stands behind = is the default."
)


def answered(command: str, arguments: Sequence[str]) -> bool:
    """Print what ``--help``, ``--version`` or ``list=`` asks for.

    Args:
        command: Name of the command's config: train, resume, evaluate, generate or compare.
        arguments: Words of the command line.

    Returns:
        Whether the command line asks for one of them.
    """
    if not any(word in ("-h", "--help", "--version") or word.startswith((LIST, "--help=")) for word in arguments):
        return False
    with one_line():
        speak_utf8()
        width = min(shutil.get_terminal_size((WIDEST, 0)).columns, WIDEST)
        print(answer(command, arguments, max(width, NARROWEST)))
    return True


def answer(command: str, arguments: Sequence[str], width: int = WIDEST) -> str:
    """Return what the command line asks for.

    Args:
        command: Name of the command's config.
        arguments: Words of the command line. The words behind ``--help`` are groups, choices or keys.
        width: Characters of a line.

    Raises:
        UserError: A name is unknown.
    """
    if "--version" in arguments:
        return versions()
    if wanted := next((word for word in arguments if word.startswith(LIST)), None):
        if len(arguments) > 1:
            raise UserError(f"{wanted} lists names and does nothing else; leave out the other words")
        return "\n".join(names(command, wanted.removeprefix(LIST)))
    # Collect the topics behind --help.
    words = [part for word in arguments for part in re.split(r"(?<=^--help)=", word)]
    first = min(words.index(flag) for flag in ("-h", "--help") if flag in words)
    topics = [word for word in words[first + 1 :] if not word.startswith("-")]
    return "\n\n".join(topic_page(command, topic, width) for topic in topics) or first_page(command, width)


def versions() -> str:
    """Return one line with the versions of this program, of Python and of its main libraries."""
    others = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "hydra-core"))
    return f"seq2seq-attention {version('seq2seq-attention')} (Python {platform.python_version()}, {others})"


def groups_of(command: str) -> list[str]:
    """Return the config groups of a command.

    Args:
        command: Name of the command's config.
    """
    own = PAGES[command].groups
    return option_text.groups() if own is None else sorted(own)


def names(command: str, group: str) -> list[str]:
    """Return the names of the choices of a group, or of the groups for ``groups``.

    Args:
        command: Name of the command's config.
        group: A config group of the command, or ``groups``.

    Raises:
        UserError: The command has no such group.
    """
    known = groups_of(command)
    if group == "groups":
        return known
    if group not in known:
        hint = suggest(group, ["groups", *known])
        raise UserError(f"{LIST}{group}: there is no such group{hint}; there are: {', '.join(['groups', *known])}")
    return option_text.choices(group)


def first_page(command: str, width: int = WIDEST) -> str:
    """Return the groups and the commonest options of a command, with examples.

    Args:
        command: Name of the command's config.
        width: Characters of a line.
    """
    page, usual, known = PAGES[command], _usual(), _known(command)
    # Describe what can be typed.
    lines = [*table(page.usage.items(), width, 54), "", "More help"]
    more = {typed: text for typed, text in MORE.items() if groups_of(command) or "GROUP" not in typed}
    lines += table(((typed, text.format_map(SUCH_AS[command])) for typed, text in more.items()), width, 24)
    # Describe the groups and the options.
    if groups_of(command):
        lines += ["", *textwrap.wrap(HOW, width)]
    for section in page.sections:
        lines += ["", section.title]
        for name in section.names:
            if name in groups_of(command):
                choice = usual.get(name, "null") if command == "train" else "CHOICE"
                lines += _group_row(name, choice, width)
            elif any(key.startswith(f"{name}.") for key in known):
                purpose = known[name].comment.partition(". ")[0]
                lines += table([(f"{name}.KEY=VALUE", f"{purpose}: --help {name}")], width)
            else:
                lines += table([row(known[name])], width)
    # Show examples.
    lines += ["", "Examples", *table(page.examples.items(), width, 60), ""]
    return _installed("\n".join([*lines, *textwrap.wrap(page.end, width)]))


def topic_page(command: str, topic: str, width: int = WIDEST) -> str:
    """Return the help about a group, a choice, an option, or the options below a key.

    Args:
        command: Name of the command's config.
        topic: ``GROUP``, ``GROUP=CHOICE``, ``KEY`` or ``KEY=VALUE``.
        width: Characters of a line.

    Raises:
        UserError: There is no such group, choice or option.
    """
    name, _, choice = topic.lstrip("+~").partition("=")
    name = name.partition("@")[0]
    groups = groups_of(command)
    if name == "resume" and command == "train":
        return first_page("resume", width)
    if name in groups:
        return choice_page(name, choice, width) if choice else group_page(name, width)
    # Find options: in the file of the command, then in the group whose name starts the key.
    own = [option for option in _own(command).options if _is_below(option.key, name)]
    if own:
        return "\n".join(table(map(row, own), width))
    group = max((group for group in groups if _is_below(name, group.replace("/", "."))), key=len, default=None)
    lines = _sections(group, width, below=name) if group else []
    if not lines:
        top = {option.key.partition(".")[0] for option in _own(command).options}
        known = sorted({*groups, *top})
        hint = suggest(name, [*known, *(_keys(group) if group else ())])
        if name in option_text.groups():
            hint = _installed(f"; it is a group of train.py: python train.py --help {name}")
        raise UserError(f"--help {topic}: there is no such group or option{hint}; there are: {', '.join(known)}")
    return "\n".join(lines).strip("\n")


def group_page(group: str, width: int = WIDEST) -> str:
    """Return all choices of a group with their descriptions, and all its options.

    Args:
        group: A config group.
        width: Characters of a line.
    """
    files = [option_text.read(option_text.file_of(group, choice)) for choice in option_text.choices(group)]
    lines = [*textwrap.wrap(f"{group}: {ABOUT[group]}", width), ""]
    usual = _usual().get(group)
    lines += [f"Choices: {group}=CHOICE{f', by default {usual}' if usual else ''}", ""]
    # A description has several paragraphs: the idea with its paper, the purpose, remarks.
    column = min(max(len(found.name) for found in files) + 4, 26)
    for found in files:
        first, *others = found.comments or [""]
        lines += table([(found.name, first), *(("", other) for other in others)], width, column)
    lines += _sections(group, width)
    # Name what else there is.
    if parts := [name for name in option_text.groups() if name.startswith(f"{group}/")]:
        lines += ["", *textwrap.wrap(f"Parts, with options of their own: {', '.join(parts)} (--help PART)", width)]
    lines += ["", f"--help {group}={usual or files[0].name} shows one choice with all its options and their defaults."]
    return _installed("\n".join(lines))


def choice_page(group: str, choice: str, width: int = WIDEST) -> str:
    """Return the description of a choice, and all its options with their defaults.

    Args:
        group: A config group.
        choice: A choice of it.
        width: Characters of a line.

    Raises:
        UserError: The group has no such choice.
    """
    choices = option_text.choices(group)
    if choice not in choices:
        raise UserError(f"{group} has no choice {choice}{suggest(choice, choices)}; it has: {', '.join(choices)}")
    found = option_text.read(option_text.file_of(group, choice))
    lines = [f"{group}={choice}", "", *table((("", comment) for comment in found.comments), width, 2)]
    if found.target:
        lines += ["", f"Class: {found.target}"]
    if chosen := [text for entry in found.defaults if (text := _chosen(entry, group))]:
        lines += ["", "Chooses, unless you do:", "", *table((("", text) for text in chosen), width, 2)]
    # A recipe sets options of other groups, whose comments are there.
    known = _known("train")
    options = [
        one if one.comment or one.key not in known else replace(one, comment=known[one.key].comment)
        for one in option_text.composed(group, choice)
    ]
    if options:
        is_recipe = not any(_is_below(option.key, group.replace("/", ".")) for option in options)
        title = "Sets:" if is_recipe else "Options and their defaults:"
        lines += ["", title, "", *table(map(row, options), width)]
    return _installed("\n".join(lines))


def _own(command: str) -> ConfigFile:
    """Return the file of a command."""
    return option_text.read(option_text.file_of("", command))


def _known(command: str) -> dict[str, Option]:
    """Return {key: option} of a command's file and of the usual choices of its groups, for the first page.

    An option of a group has only the first sentence of its comment. Outside ``train.py`` its default is the run's.
    """
    known = {option.key: option for option in _own(command).options}
    for group, choice in _usual().items():
        for option in option_text.composed(group, choice) if group in groups_of(command) else ():
            default = option.default if command == "train" else "VALUE"
            known[option.key] = Option(option.key, default, option.comment.partition(". ")[0])
    return known


def _usual() -> dict[str, str]:
    """Return {group: choice} of ``train.py`` without options; a part of a mechanism has the choice of the mechanism."""
    found = {}
    for entry in _own("train").defaults:
        group, _, choice = entry.partition("=")
        if choice not in ("", "null") and not group.startswith("hydra/"):
            found[group] = choice
    mechanism = option_text.read(option_text.file_of("attention", found["attention"])).defaults
    parts = (entry.partition("=") for entry in mechanism)
    return found | {f"attention/{part}": choice for part, _, choice in parts if choice}


def _keys(group: str) -> list[str]:
    """Return the keys of all options of a group."""
    return [option.key for choice in option_text.choices(group) for option in option_text.composed(group, choice)]


def _is_below(key: str, name: str) -> bool:
    """Return whether a key is ``name``, or the key of an option below it."""
    return key == name or key.startswith(f"{name}.")


def _sections(group: str, width: int, below: str = "") -> list[str]:
    """Return the options of a group: those that files share, then those of single choices.

    Args:
        group: A config group.
        width: Characters of a line.
        below: Leave out all other options than this one and those below it.
    """
    prefix = below or group.replace("/", ".")
    lines: list[str] = []
    # Options of files that the choices include.
    for found in option_text.shared(group):
        if options := [option for option in found.options if _is_below(option.key, prefix)]:
            lines += ["", *textwrap.wrap(found.header, width), "", *table(map(row, options), width)]
    # Options of the choices; equal ones together.
    owners: dict[tuple[str, str], dict[str, str]] = {}
    for choice in option_text.choices(group):
        inherited = option_text.inherited(group, choice)
        for option in option_text.read(option_text.file_of(group, choice)).options:
            if _is_below(option.key, prefix) and (option.comment or option.key not in inherited):
                owners.setdefault((option.key, option.comment), {})[choice] = option.default
    most = len(owners) if below else FEW
    tables: dict[tuple[str, ...], list[Option]] = {}
    for (key, comment), defaults in owners.items():
        tables.setdefault(tuple(defaults), []).append(Option(key, by_choice(defaults, most), comment))
    for choices, options in sorted(tables.items(), key=lambda item: -len(item[0])):
        title = f"Options of {group}={', '.join(choices)}"
        lines += ["", *textwrap.wrap(title, width), "", *table(map(row, options), width)]
    return lines


def _chosen(entry: str, group: str) -> str:
    """Return an entry of ``defaults`` as it is typed: ``attention/score=general``; nothing for an included file."""
    name, equals, choice = entry.partition("=")
    name, _, place = name.partition("@")
    if not equals:
        return ""
    folder = name[1:] if name.startswith("/") else f"{group}/{name}"
    key = place.removeprefix("_global_.") if place.startswith("_global_.") else f"{group}.{place}" if place else folder
    return f"{folder}={choice}" if key.replace(".", "/") == folder else f"{folder}@{key.replace('/', '.')}={choice}"


def _group_row(group: str, choice: str, width: int) -> list[str]:
    """Return the row of a group on the first page: its default, its purpose, and its choices where a line has room."""
    choices = option_text.choices(group)
    purpose = ABOUT[group].partition(". ")[0].rstrip(".")
    rows = (f"{purpose}: {text}" for text in (", ".join(choices), f"{len(choices)} choices"))
    named, counted = (list(table([(f"{group}={choice}", text)], width)) for text in rows)
    return min(named, counted, key=len)


def _installed(text: str) -> str:
    """Return a text with the commands as they are started here."""
    return re.sub(r"python (train|evaluate|generate|compare)\.py", lambda found: program(found[1]), text)
