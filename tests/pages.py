"""Helpers that read the pages of the documentation: their blocks of code and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = sorted(ROOT.glob("docs/**/*.md"))
PAGES = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = ("train", "evaluate", "generate", "compare")
OPERATORS = {"|", "||", "&&", ";", "&", "(", ")", "do", "done", "then", "fi"}


@dataclass(frozen=True)
class Block:
    """A fenced block of code; ``number`` counts the blocks of the same language on its page."""

    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.language}:{self.number}"


def name_of(page: Path) -> str:
    """Return the path of a page from the root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the blocks of a page; with ``language``, only the blocks in that language."""
    found: list[Block] = []
    for name, text in FENCE.findall(page.read_text(encoding="utf-8")):
        number = sum(block.language == name for block in found)
        found.append(Block(name_of(page), number, name, text))
    return [block for block in found if language in (None, block.language)]


def prose(page: Path) -> str:
    """Return the text of a page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def simple_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a shell text, without redirections, comments and assignments."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        skip = False  # the next word is the file of a redirection
        for word in lexer:
            if word in OPERATORS:
                yield from [words] if words else []
                words = []
            elif set(word) <= {"<", ">"}:
                skip = True
            elif skip:
                skip = False
            elif words or not re.match(r"[A-Z_]+=", word):
                words.append(word)
        yield from [words] if words else []


def program_lines(page: Path) -> list[list[str]]:
    """Return the commands of a page that run a program of this repository, from blocks and from the text.

    Skips commands in the text with an ellipsis (``python train.py ... data.path=DIR``).
    """
    spans = re.findall(r"`(python \w+\.py[^`]*)`", prose(page))
    texts = [block.text for block in blocks(page, "bash")]
    texts += [" ".join(span.split()) for span in spans if "..." not in span]
    found = [words for text in texts for words in simple_commands(text)]
    return [words for words in found if words[0] == "python" and words[1].removesuffix(".py") in COMMANDS]
