"""Parts of every Transformer layer: residual connection with norm, and feed-forward network.

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
    """Residual connection with layer norm around a sublayer f.

        pre:  x + dropout(f(norm(x)))   (Xiong 2020)
        post: norm(x + dropout(f(x)))   (Vaswani 2017)

    Call ``enter``, then f, then ``leave``.

    Args:
        dim: Width D.
        dropout: Dropout probability of f(x).
        norm: Order of norm and residual connection: "pre" or "post".

    Raises:
        UserError: ``norm`` is unknown.
    """

    def __init__(self, dim: int, dropout: float, norm: str) -> None:
        super().__init__()
        if norm not in ("pre", "post"):
            raise UserError(f"norm={norm} is unknown; choose pre or post")
        self.pre = norm == "pre"
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def enter(self, x: Tensor) -> Tensor:
        """Return the input of the sublayer f.

        Args:
            x: Residual stream before the sublayer (..., D).
        """
        return self.norm(x) if self.pre else x

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the residual stream after the sublayer f.

        Args:
            x: Residual stream before the sublayer (..., D).
            y: Output f(enter(x)) of the sublayer (..., D).
        """
        x = x + self.dropout(y)
        return x if self.pre else self.norm(x)


class FeedForward(nn.Module):
    """Feed-forward network W_2 dropout(act(W_1 x + b_1)) + b_2 (Vaswani 2017, section 3.3).

    Args:
        dim: Width D of input and output.
        hidden: Width of the hidden layer.
        dropout: Dropout probability of the hidden layer.
        activation: Activation act: "relu", "gelu" or "silu".

    Raises:
        UserError: ``activation`` is unknown.
    """

    def __init__(self, dim: int, hidden: int, dropout: float, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UserError(f"activation={activation} is unknown; choose one of {', '.join(ACTIVATIONS)}")
        self.activation, self.p = activation, dropout
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to each position.

        Args:
            x: Vectors (..., D).

        Returns:
            Vectors (..., D).
        """
        inner = self.up(x)
        # ReLU and dropout have a common kernel.
        if self.activation == "relu":
            inner = relu_dropout(inner, self.p, self.training)
        else:
            inner = dropout(ACTIVATIONS[self.activation](inner), self.p, self.training)
        outer: Tensor = self.down(inner)
        return outer


def initialise(module: nn.Module) -> None:
    """Initialise all linear layers in a module: Xavier-uniform matrices and zero biases (Vaswani's reference code).

    Args:
        module: Module that holds linear layers.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
