"""Score a checkpoint: python evaluate.py checkpoint=RUN (--help lists all options)."""

from seq2seq.cli.commands import evaluate

if __name__ == "__main__":
    evaluate()
