"""Training loss: cross-entropy, auxiliary terms and REINFORCE, weighted and summed by ``Criterion``."""

from seq2seq.loss.criterion import Criterion, Losses
from seq2seq.loss.cross_entropy import Likelihood, likelihood, teacher_forced_nll
from seq2seq.loss.passes import Passes, estimator_of, teacher_forced
from seq2seq.loss.terms import penalties, terms_of

__all__ = [
    "Criterion",
    "Likelihood",
    "Losses",
    "Passes",
    "estimator_of",
    "likelihood",
    "penalties",
    "teacher_forced",
    "teacher_forced_nll",
    "terms_of",
]
