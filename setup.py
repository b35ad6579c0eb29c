"""Puts ``conf/`` into the package as ``seq2seq/conf``; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["seq2seq", "seq2seq.*"]), "seq2seq.conf"],
    package_dir={"seq2seq.conf": "conf"},
)
