"""Lion and Muon against their formulas and torch's own parts."""

import pytest
import torch
from torch import Tensor, nn

from senet_lab.errors import UsageError
from senet_lab.optim import Lion, Muon
from senet_lab.optim.muon import orthogonal


def with_gradients(steps: int, *shapes: tuple[int, ...]) -> tuple[list[nn.Parameter], list[list[Tensor]]]:
    """Parameters, and the gradients that each step finds."""
    draws = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=draws)) for shape in shapes]
    return parameters, [[torch.randn(shape, generator=draws) for shape in shapes] for _ in range(steps)]


def take(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], grads: list[list[Tensor]]) -> None:
    for step in grads:
        for parameter, grad in zip(parameters, step, strict=True):
            parameter.grad = grad.clone()
        optimizer.step()


def test_lion_by_its_formula() -> None:
    parameters, grads = with_gradients(5, (4, 3), (7,))
    expected, momenta = [p.detach().double() for p in parameters], [0.0, 0.0]
    for step in grads:
        for i, grad in enumerate(step):
            update = torch.sign(0.9 * momenta[i] + 0.1 * grad.double())
            expected[i] = expected[i] - 0.01 * (update + 0.3 * expected[i])
            momenta[i] = 0.99 * momenta[i] + 0.01 * grad.double()
    take(Lion(parameters, lr=0.01, weight_decay=0.3), parameters, grads)
    for parameter, value in zip(parameters, expected, strict=True):
        # Five float32 roundings; no sign here is as near to 0.
        torch.testing.assert_close(parameter.detach().double(), value, rtol=0, atol=1e-6)


def test_muon_of_matrices_is_torchs() -> None:
    results = []
    for kind, words in ((torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw"}), (Muon, {})):
        parameters, grads = with_gradients(3, (6, 20), (20, 6))
        start = [parameter.detach().clone() for parameter in parameters]
        take(kind(parameters, lr=0.02, weight_decay=0.1, **words), parameters, grads)  # type: ignore[operator]
        results.append([(p - q).detach() for p, q in zip(parameters, start, strict=True)])
    for theirs, ours in zip(*results, strict=True):
        # Both iterate in bfloat16, which rounds at 2⁻⁹.
        assert (ours - theirs).norm() < 2.0**-6 * theirs.norm()


def test_muon_of_vectors_is_adamw() -> None:
    results = []
    for kind in (torch.optim.AdamW, Muon):
        parameters, grads = with_gradients(5, (), (9,))
        take(kind(parameters, lr=0.02, weight_decay=0.1), parameters, grads)
        results.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_muon_takes_a_convolution_for_a_matrix(memory_format: torch.memory_format) -> None:
    (matrix,), grads = with_gradients(2, (8, 4 * 9))
    weight = nn.Parameter(matrix.detach().view(8, 4, 3, 3).to(memory_format=memory_format))
    take(Muon([matrix], lr=0.1), [matrix], grads)
    take(Muon([weight], lr=0.1), [weight], [[step[0].view(8, 4, 3, 3)] for step in grads])
    torch.testing.assert_close(weight.detach().flatten(1), matrix.detach())


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (1, 9)])
def test_orthogonal_keeps_directions_and_levels_lengths(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    ours = orthogonal(matrix).double()
    lengths = u.T @ ours @ v.T
    assert (s.max() / s.min() > 1.3) or min(shape) == 1
    assert ((lengths.diagonal() > 0.6) & (lengths.diagonal() < 1.3)).all()
    assert (lengths - lengths.diagonal().diag()).abs().max() < 0.05


@pytest.mark.parametrize("kind", [Lion, Muon])
def test_they_go_on_from_a_state(kind: type[torch.optim.Optimizer]) -> None:
    parameters, grads = with_gradients(4, (4, 3, 2, 2), (7,))
    twins = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    first = kind(parameters, lr=0.01)  # type: ignore[call-arg]
    take(first, parameters, grads)
    one, other = kind(twins, lr=0.01), kind(twins, lr=0.01)  # type: ignore[call-arg]
    take(one, twins, grads[:2])
    other.load_state_dict(one.state_dict())
    take(other, twins, grads[2:])
    for parameter, twin in zip(parameters, twins, strict=True):
        assert torch.equal(parameter, twin)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Lion, {"betas": [0.9]}), (Lion, {"betas": [0.9, 1.0]}), (Muon, {"momentum": 1.0})],
)
def test_what_is_out_of_range_is_refused(kind: type[torch.optim.Optimizer], words: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"optimizer.{next(iter(words))}="):
        kind([nn.Parameter(torch.ones(2))], lr=0.1, **words)  # type: ignore[arg-type]
