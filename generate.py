"""Generate output for new input: python generate.py checkpoint=RUN < input.txt > output.txt (see --help)."""

from seq2seq.cli.commands import generate

if __name__ == "__main__":
    generate()
