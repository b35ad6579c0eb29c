"""The two things every Transformer layer is made of, in pre- and post-norm order.

Shapes: B batch, T positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.errors import UserError
from seq2seq.layers.dropout import Dropout, dropout, relu_dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


class Residual(nn.Module):
    """x + dropout(f(norm(x))) (``pre``, Xiong 2020) or norm(x + dropout(f(x))) (``post``, Vaswani 2017)."""

    def __init__(self, dim: int, dropout: float, norm: str) -> None:
        super().__init__()
        if norm not in ("pre", "post"):
            raise UserError(f"norm={norm} is unknown; choose pre or post")
        self.pre = norm == "pre"
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def enter(self, x: Tensor) -> Tensor:
        """What the sublayer f reads."""
        return self.norm(x) if self.pre else x

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """The residual stream after it: x before, y = f(enter(x))."""
        x = x + self.dropout(y)
        return x if self.pre else self.norm(x)


class FeedForward(nn.Module):
    """W_2 dropout(act(W_1 x + b_1)) + b_2 (Vaswani 2017, section 3.3)."""

    def __init__(self, dim: int, hidden: int, dropout: float, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UserError(f"activation={activation} is unknown; choose one of {', '.join(ACTIVATIONS)}")
        self.activation, self.p = activation, dropout
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        inner = self.up(x)
        if self.activation == "relu":
            inner = relu_dropout(inner, self.p, self.training)
        else:
            inner = dropout(ACTIVATIONS[self.activation](inner), self.p, self.training)
        outer: Tensor = self.down(inner)
        return outer


def initialise(module: nn.Module) -> None:
    """Xavier-uniform matrices and zero biases for every linear layer inside (Vaswani's reference code)."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
