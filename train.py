"""Train a model, or resume a run: python train.py attention=local (--help lists all options)."""

from seq2seq.cli.commands import train

if __name__ == "__main__":
    train()
