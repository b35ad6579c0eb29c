"""Download a dataset from its public address as SPLIT.LANGUAGE files, and check the SHA-256 of each file.

    python scripts/download.py multi30k              # into data/multi30k
    python train.py data=multi30k data.path=data/multi30k

Existing files with the right SHA-256 are kept. ``--from URL`` downloads from a mirror with the same file names.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Address of a dataset and its files.

    Attributes:
        url: Address of the folder with the files.
        files: Local file name: (remote file name, SHA-256 of the uncompressed content).
        terms: Paper and licence of the dataset, in one line.
    """

    url: str
    files: Mapping[str, tuple[str, str]]
    terms: str


DATASETS = {
    "multi30k": Source(
        url="https://raw.githubusercontent.com/multi30k/dataset/c9be912dc05a3ebf9ae5bb5f7f58c1791cda43ab/data/task1/raw",
        files={
            "train.en": ("train.en.gz", "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
            "train.de": ("train.de.gz", "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
            "train.fr": ("train.fr.gz", "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d"),
            "val.en": ("val.en.gz", "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
            "val.de": ("val.de.gz", "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
            "val.fr": ("val.fr.gz", "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc"),
            "test.en": ("test_2016_flickr.en.gz", "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
            "test.de": ("test_2016_flickr.de.gz", "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
            "test.fr": ("test_2016_flickr.fr.gz", "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6"),
        },
        terms="Elliott et al. 2016, 2017; non-commercial research (the Flickr30k captions' terms)",
    ),
}


class DownloadError(Exception):
    """Error of one file, with a message of one line."""


def download(source: Source, folder: Path, url: str | None = None) -> None:
    """Download the files of a dataset; a file is written only if it is complete and correct.

    Args:
        source: The dataset.
        folder: Target folder, created if it does not exist.
        url: Mirror to use instead of ``source.url``.

    Raises:
        DownloadError: A file cannot be downloaded or has a wrong SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, (remote, expected) in source.files.items():
        file = folder / name
        # Keep a correct file.
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == expected:
            print(f"{file}: exists already", file=sys.stderr)
            continue

        # Download and check the content.
        content = fetch(f"{url or source.url}/{remote}")
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            raise DownloadError(
                f"{remote}: SHA-256 is {found}, not {expected}; the remote file has changed or is damaged"
            )
        # Write to another name first, so that an interruption leaves no incomplete file.
        partial = file.with_name(f"{name}.part")
        partial.write_bytes(content)
        partial.replace(file)
        print(f"{file}: {len(content):,} bytes", file=sys.stderr)


def fetch(url: str) -> bytes:
    """Return the content of an address; ``.gz`` files are decompressed.

    Args:
        url: Address of the file.

    Raises:
        DownloadError: The file cannot be downloaded or decompressed.
    """
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content: bytes = response.read()
        return gzip.decompress(content) if url.endswith(".gz") else content
    except (urllib.error.URLError, TimeoutError) as error:
        raise DownloadError(f"{url}: cannot be downloaded: {getattr(error, 'reason', error)}") from error
    except (OSError, EOFError) as error:
        raise DownloadError(f"{url}: not a gzip file: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: Command line; None = ``sys.argv``.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=DATASETS)
    parser.add_argument("--to", type=Path, metavar="DIR", help="target folder (default: data/NAME)")
    parser.add_argument("--from", dest="url", metavar="URL", help="mirror to use instead of the dataset's own address")
    options = parser.parse_args(arguments)
    source, folder = DATASETS[options.name], options.to or Path("data") / options.name
    try:
        download(source, folder, options.url)
    except (DownloadError, OSError) as error:
        print(f"download.py: {error}", file=sys.stderr)
        return 1
    print(f"{options.name}: {source.terms}. To use it: data={options.name} data.path={folder}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
