"""Label smoothing, gradient clipping and the average of weights against plain loops."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.composition.command import compose_command
from senet_lab.config import RunConfig, as_plain, comparable, run_config
from senet_lab.records.rows import Metrics
from senet_lab.training.engine import Engine
from senet_lab.training.loop import Training
from senet_lab.training.steps import TrainStep
from senet_lab.training.turns import finish, interleave

PLAIN = Engine(torch.device("cpu"), "float32", deterministic=False)
RECIPE = {"label_smoothing": 0.1, "clip_grad": 0.5, "ema": 0.9}


def never() -> bool:
    return False


def tiny_config(folder: Path, *overrides: str) -> RunConfig:
    return compose_command("train", [*tiny(folder), *overrides]).points[0].config


def row(training: Training) -> dict[str, Any]:
    metrics = finish(training.epoch(never))
    assert isinstance(metrics, Metrics)
    return {**vars(metrics), "seconds": 0}


def tensors(network: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in network.state_dict().values()]


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5)).double()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("limit", [0.0, 0.3])
@pytest.mark.parametrize("are_mixed", [False, True])
def test_steps_equal_a_plain_loop(smoothing: float, limit: float, are_mixed: bool) -> None:
    """Two parts a batch, weights in float64; the loss itself is float32 in both."""
    ours, plain = small_network(), small_network()
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.5)
    step = TrainStep(ours, optimizer, PLAIN, 8, 2, label_smoothing=smoothing, clip_grad=limit)
    losses, norms = 0.0, []
    for _ in range(6):
        images, labels = torch.randn(8, 3, 2, 2).double(), torch.randint(5, (8,))
        shares = F.one_hot(labels, 5).double()
        if are_mixed:
            shares = 0.7 * shares + 0.3 * shares.flip(0)
        step(images, shares.float() if are_mixed else labels, 8)
        wanted = (1 - smoothing) * shares + smoothing / 5
        loss = -(wanted * plain(images).log_softmax(1)).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
        scale = min(1.0, limit / norm) if limit else 1.0
        with torch.no_grad():
            for weight, gradient in zip(plain.parameters(), gradients, strict=True):
                weight.sub_(0.5 * scale * gradient)
        losses += 8 * loss.item()
        norms.append(norm)
    assert min(norms) < 0.9 * max(norms)
    assert limit == 0 or max(norms) > limit
    assert step.sums[0].item() == pytest.approx(losses, rel=1e-5)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_average_equals_a_plain_loop_and_changes_nothing_else(tmp_path: Path) -> None:
    words = ["batch_size=8", "epochs=1", "dataset.validation=24"]
    training, plain = (Training(tiny_config(tmp_path, *words, *more), PLAIN) for more in (["ema=0.5"], []))
    wanted = [value.double() for value in tensors(plain.network)]
    decays = []
    for step, _ in enumerate(plain.train(never), start=1):
        decays.append(min(0.5, (1 + step) / (10 + step)))
        current = tensors(plain.network)
        wanted = [
            decays[-1] * mean + (1 - decays[-1]) * value if value.is_floating_point() else value.double()
            for mean, value in zip(wanted, current, strict=True)
        ]
    assert decays[0] < decays[-1] == 0.5
    found = row(training)
    for one, other in zip(tensors(training.network), tensors(plain.network), strict=True):
        assert torch.equal(one, other)
    assert training.average is not None
    for one, other in zip(tensors(training.average.network), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)

    without = row(Training(tiny_config(tmp_path, *words), PLAIN))
    extra = {key for key in found if "_ema_" in key}
    assert len(extra) == 6
    assert {**found, **dict.fromkeys(extra)} == without
    with torch.inference_mode():
        for name, part in (("test", training.batches.test()), ("val", training.batches.validation())):
            images, labels = (torch.cat(both) for both in zip(*part, strict=True))
            logits = training.average.network(images)
            loss, hits = F.cross_entropy(logits, labels).item(), logits.argmax(1) == labels
            assert found[f"{name}_ema_loss"] == pytest.approx(loss, rel=1e-5)
            assert found[f"{name}_ema_top1"] == pytest.approx(hits.float().mean().item())
            assert found[f"{name}_ema_loss"] != found[f"{name}_loss"]
    assert training.images_done == training.images_per_epoch == (96 - 24) + 2 * (24 + 48)


def test_a_run_with_a_recipe_resumes_exactly(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, *(f"{key}={value}" for key, value in RECIPE.items()), "epochs=4")
    whole, part, rest = (Training(config, PLAIN) for _ in range(3))
    expected = [row(whole) for _ in range(4)]
    rows = [row(part) for _ in range(2)]
    torch.save(part.state_dict(), tmp_path / "state.pt")
    rest.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert rows + [row(rest) for _ in range(2)] == expected
    assert whole.average is not None
    assert rest.average is not None
    for one, other in zip(tensors(whole.average.network), tensors(rest.average.network), strict=True):
        assert torch.equal(one, other)


def test_packed_runs_equal_runs_alone(tmp_path: Path) -> None:
    words = [f"{key}={value}" for key, value in RECIPE.items()]
    configs = [tiny_config(tmp_path, *words, f"seed={seed}", "epochs=1") for seed in (0, 1)]
    alone = [row(Training(config, PLAIN)) for config in configs]
    together = interleave([Training(config, PLAIN).epoch(never) for config in configs])
    assert [{**vars(metrics), "seconds": 0} for metrics in together if metrics] == alone


def test_records_without_these_keys_are_of_the_same_run(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    plain = as_plain(config)
    earlier = {key: value for key, value in plain.items() if key not in RECIPE}
    assert len(plain) - len(earlier) == len(RECIPE)
    assert comparable(run_config(earlier, "a record")) == comparable(config)
