"""Compare runs with statistical tests, and write a report: python compare.py runs=DIR (--help lists all options)."""

from seq2seq.cli.commands import compare

if __name__ == "__main__":
    compare()
