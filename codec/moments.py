"""Running sums over a model's KV from which a transform is fitted: first and second moments, and sensitivity."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_EVENNESS = 0.8
_LEAST_ENERGY = 1e-3  # of the mean: tokens that nothing depends on must not count without end


class Moments:
    """Sums over tokens of consecutive layers' channels, side by side: `[token, channel]`.

    The channels come in parts, one layer's keys or values each. A part's sensitivity is the Fisher
    information E[g gᵀ], where g is the gradient, with respect to a token's numbers, of -log p(y | context)
    for a y that the model itself would say: a small error e costs about ½ eᵀ E[g gᵀ] e nats of everything
    said behind it (SqueezeLLM, arXiv 2306.07629, does so for weights).

    A few tokens are worth far more than the others, and the codec gives them finer steps (`Emphasis`).
    What is asked of the sensitivity is therefore the shape that is left: each token counts by its own
    energy |g|² to the power of -`_EVENNESS`, all parts' energies made equal.
    """

    def __init__(self, part_dims: Sequence[int]) -> None:
        channels = sum(part_dims)
        self.num_tokens = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.outer = torch.zeros((channels, channels), dtype=torch.float64)
        self._fisher = [torch.zeros((dim, dim), dtype=torch.float64) for dim in part_dims]
        self._energies = torch.zeros(len(part_dims), dtype=torch.float64)

    def add(self, x: torch.Tensor, gradients: Sequence[torch.Tensor]) -> None:
        """Counts tokens in: `x` `[token, channel]`, and the gradients with respect to each part of it."""
        x = x.double()
        self.num_tokens += len(x)
        self.total += x.sum(dim=0)
        self.outer += x.T @ x
        weights = self._weights(gradients).sqrt()[:, None]
        for fisher, part in zip(self._fisher, gradients, strict=True):
            weighted = part.double() * weights
            fisher += weighted.T @ weighted

    def _weights(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """How much each token counts, `[token]`."""
        energies = torch.stack([part.double().square().sum(dim=1) for part in gradients])  # [part, token]
        self._energies += energies.sum(dim=1)
        means = (self._energies / self.num_tokens).clamp(min=torch.finfo(torch.float64).tiny)
        energy: torch.Tensor = (energies / means[:, None]).mean(dim=0)
        return (energy + _LEAST_ENERGY) ** -_EVENNESS

    @property
    def mean(self) -> torch.Tensor:
        return self.total / self.num_tokens

    @property
    def covariance(self) -> torch.Tensor:
        return self.outer / self.num_tokens - self.mean.outer(self.mean)

    @property
    def sensitivities(self) -> list[torch.Tensor]:
        """Of each part, `[channel, channel]`."""
        return [fisher / self.num_tokens for fisher in self._fisher]
