"""Test of the modes of modules: searches change them while they run, and restore them."""

from __future__ import annotations

from torch import nn

from seq2seq.search.base import differentiable, evaluating


def test_each_module_gets_its_previous_mode_back() -> None:
    frozen, model = nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(), nn.LSTM(2, 2))
    model.append(frozen.eval())
    for inside, in_training in ((evaluating, False), (differentiable, True)):
        with inside(model):
            dropout, rnn, norm = model
            assert not (model.training or dropout.training or norm.training) and rnn.training is in_training
        assert [m.training for m in model.modules()] == [True, True, True, False]
