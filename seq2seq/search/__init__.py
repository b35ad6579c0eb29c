"""Search for hypotheses given a batch of sources, and probabilities of given hypotheses."""

from seq2seq.search.base import Hypothesis, Search
from seq2seq.search.beam import Beam
from seq2seq.search.exact import Exact
from seq2seq.search.greedy import Greedy
from seq2seq.search.sample import Sample
from seq2seq.search.teacher_forcing import Forced, force, rescore

__all__ = ["Beam", "Exact", "Forced", "Greedy", "Hypothesis", "Sample", "Search", "force", "rescore"]
