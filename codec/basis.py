"""Basis: the coordinates in which some channels of the KV are quantized.

For a vector x (one token's channels of a few consecutive layers, keys without rotary embedding) with
covariance C and Fisher information F, a small error e costs about ½ eᵀ F e nats. With R = (F + s·tr(F)/d·I)^½
for each layer's keys and values by themselves, the error R e costs its plain length, whatever its
direction: in the coordinates R x all errors are equally bad. What is left to gain is correlation: W, the
eigenvectors of R C R, removes it (KLT; Goyal, IEEE SPM 2001, section "transform coding"; KVTC, arXiv
2511.01815, does so without R). Neighbouring layers read and write one residual stream, so their keys and
values say much the same again: most of what there is to gain lies between layers. So

    z = Wᵀ R (x - mean)         coded with one step for every component of a token, whatever its layers
    x = mean + R⁻¹ W z

and reverse water-filling needs no bit allocation: components weaker than the step round to zero. The
shrinkage s keeps R well conditioned: F is estimated from a few thousand tokens, and an error that no
calibration text minded is not free. It also makes half precision enough for the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from codec.errors import CorruptFrame
from codec.int_product import IntMatrix

_SMALLEST = 1e-20  # of a mean sensitivity: where nothing depends on a layer, any basis will do


@dataclass(frozen=True, eq=False)
class Basis:
    """`mean` `[channel]`; `directions` float16 `[channel, component]`, each column's largest entry near 1;
    `gains` and `deviations` `[component]`, float32: what a column is multiplied by, and how much its z varies."""

    mean: np.ndarray
    directions: np.ndarray
    gains: np.ndarray
    deviations: np.ndarray

    @cached_property
    def synthesis(self) -> np.ndarray:
        """R⁻¹ W, float32 `[component, channel]`: `z @ synthesis + mean` is x."""
        matrix: np.ndarray = np.ascontiguousarray((self.directions.astype(np.float32) * self.gains).T)
        return matrix

    @cached_property
    def int_synthesis(self) -> IntMatrix:
        """The synthesis in 16 bits, with the mean."""
        return IntMatrix.of(self.synthesis, self.mean)

    @cached_property
    def analysis(self) -> np.ndarray:
        """The exact inverse of the rounded synthesis, float32 `[channel, component]`: `(x - mean) @ analysis` is z.

        Raises CorruptFrame when there is none.
        """
        try:
            return np.linalg.inv(self.synthesis.astype(np.float64)).astype(np.float32)
        except np.linalg.LinAlgError as error:
            raise CorruptFrame(f"a profile's basis cannot be inverted: {error}") from error


def fit_basis(
    mean: torch.Tensor, covariance: torch.Tensor, sensitivities: Sequence[torch.Tensor], shrinkage: float
) -> Basis:
    """The basis for channels whose parts have these sensitivities; components come strongest first. All float64."""
    roots, inverse_roots = zip(*(_roots(_shrunk(part, shrinkage)) for part in sensitivities), strict=True)
    root, inverse_root = block_diagonal(roots), block_diagonal(inverse_roots)
    variances, directions = torch.linalg.eigh(root @ covariance @ root)
    variances, directions = variances.flip(0), directions.flip(1)
    synthesis = inverse_root @ directions
    gains = synthesis.abs().amax(dim=0)
    return Basis(
        mean=mean.numpy().astype(np.float32),
        directions=(synthesis / gains).numpy().astype(np.float16),
        gains=gains.numpy().astype(np.float32),
        deviations=variances.clamp(min=0).sqrt().numpy().astype(np.float32),
    )


def block_diagonal(blocks: Sequence[torch.Tensor]) -> torch.Tensor:
    whole: torch.Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole


def _shrunk(sensitivity: torch.Tensor, shrinkage: float) -> torch.Tensor:
    dim = len(sensitivity)
    floor = max(float(sensitivity.trace()) / dim, _SMALLEST) * shrinkage
    return sensitivity + floor * torch.eye(dim, dtype=torch.float64)


def _roots(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The symmetric square root of a positive definite matrix, and its inverse."""
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    root = eigenvalues.sqrt()
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
