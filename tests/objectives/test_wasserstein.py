"""Wasserstein GAN against a loop over single numbers, written from arXiv 1701.07875."""

import torch
from torch import Tensor

from clsgan.objectives import (
    leaky_cost,
    loss_sensitive_critic,
    loss_sensitive_generator,
    wasserstein_critic,
    wasserstein_generator,
)


def losses(rows: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = 3 * torch.randn(2, rows, generator=generator, dtype=torch.float64)
    return real, fake


def test_critic_is_the_difference_of_algorithm_1() -> None:
    real, fake = losses()
    # algorithm 1 ascends f(x) - f(g(z)) of a critic f that is high on real: f = -L
    expected = [-((-r) - (-f)) for r, f in zip(real.tolist(), fake.tolist(), strict=True)]
    given = wasserstein_critic(real, fake)
    assert given.dtype == torch.float64 and given.tolist() == expected


def test_generator_lowers_the_losses_of_its_rows() -> None:
    _, fake = losses()
    assert wasserstein_generator(fake).tolist() == fake.tolist()
    assert torch.equal(wasserstein_generator(fake), loss_sensitive_generator(fake))


def test_it_is_gls_gan_of_slope_1() -> None:
    real, fake = losses()
    for margin in (torch.zeros(20), torch.arange(20.0)):
        sensitive = loss_sensitive_critic(real, fake, margin.double(), leaky_cost(1.0))
        torch.testing.assert_close(sensitive - margin, wasserstein_critic(real, fake))


def test_gradients_of_every_row_are_one() -> None:
    real, fake = (rows.requires_grad_() for rows in losses(3))
    wasserstein_critic(real, fake).sum().backward()
    assert real.grad.tolist() == [1.0] * 3 and fake.grad.tolist() == [-1.0] * 3
