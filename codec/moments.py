"""Running sums over a model's KV from which a transform is fitted: first and second moments, and sensitivity."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Moments:
    """Sums over tokens of one layer's keys or values `[token, channel]`, all heads side by side.

    `sensitivity` is the Fisher information E[g gᵀ], where g is the gradient, with respect to a token's
    numbers, of -log p(y | context) for a y that the model itself would say: a small error e costs about
    ½ eᵀ E[g gᵀ] e nats of everything said behind it (SqueezeLLM, arXiv 2306.07629, does so for weights).
    """

    num_tokens: int
    total: torch.Tensor
    outer: torch.Tensor
    gradients_outer: torch.Tensor

    @classmethod
    def zero(cls, dim: int) -> Moments:
        square = torch.zeros((dim, dim), dtype=torch.float64)
        return cls(0, torch.zeros(dim, dtype=torch.float64), square, square.clone())

    def add(self, x: torch.Tensor, gradients: torch.Tensor) -> None:
        """Counts tokens in: `x` and the gradients with respect to it, both `[token, channel]`."""
        x, gradients = x.double(), gradients.double()
        self.num_tokens += len(x)
        self.total += x.sum(dim=0)
        self.outer += x.T @ x
        self.gradients_outer += gradients.T @ gradients

    @property
    def mean(self) -> torch.Tensor:
        return self.total / self.num_tokens

    @property
    def covariance(self) -> torch.Tensor:
        return self.outer / self.num_tokens - self.mean.outer(self.mean)

    @property
    def sensitivity(self) -> torch.Tensor:
        return self.gradients_outer / self.num_tokens
