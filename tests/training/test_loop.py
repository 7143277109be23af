import copy
import gc
import math
import warnings
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from torch.nn import functional as F
from torch.utils import deterministic as determinism
from torch.utils._python_dispatch import TorchDispatchMode

from senet_lab.build import build_augment, build_dataset, build_network
from senet_lab.composition.command import compose_command
from senet_lab.config import RunConfig, TrainerConfig
from senet_lab.networks.activations import activation_sites
from senet_lab.records.rows import Metrics
from senet_lab.records.run import State
from senet_lab.seeding import Stream, generator, stream_seed
from senet_lab.training import loop
from senet_lab.training.engine import Engine, choose_engine
from senet_lab.training.loop import Stop, Training, is_finite
from senet_lab.training.steps import batch_sums
from senet_lab.training.streams import Lent
from senet_lab.training.turns import finish

PLAIN = Engine(torch.device("cpu"), "float32", deterministic=False)


def never() -> bool:
    return False


def tiny_config(folder: Path, *overrides: str) -> RunConfig:
    return compose_command("train", [*tiny(folder), *overrides]).points[0].config


def run_and_record(training: Training) -> tuple[State, list[Metrics], list[State]]:
    """How a training ends, and what is recorded after each epoch."""
    rows, states = [], []

    def record(metrics: Metrics, state: State) -> None:
        rows.append(metrics)
        states.append(state)

    return finish(training.run(never, record)), rows, states


def run_to_end(training: Training) -> tuple[State, list[Metrics]]:
    return run_and_record(training)[:2]


def untimed(metrics: Metrics) -> Metrics:
    return replace(metrics, seconds=0)


def test_batch_sums_count_by_hand() -> None:
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3], [1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 0, 0, 1]])
    labels = torch.tensor([0, 1, 6])  # first; sixth; first
    sums = batch_sums(F.cross_entropy(logits, labels), logits, labels)
    losses = [
        math.log(sum(math.exp(v) for v in row)) - row[y]
        for row, y in zip(logits.tolist(), labels, strict=True)
    ]
    assert sums.tolist() == pytest.approx([sum(losses), 2, 2], rel=1e-6)


def test_of_a_mixed_label_the_larger_share_counts() -> None:
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3], [1, 2, 3, 4, 5, 6, 7]])
    shares = torch.tensor([[0.7, 0.3, 0, 0, 0, 0, 0], [0.4, 0, 0, 0, 0, 0, 0.6]])
    assert batch_sums(torch.tensor(2.0), logits, shares).tolist() == [4, 2, 2]


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_images_train(name: str, tmp_path: Path) -> None:
    training = Training(tiny_config(tmp_path, f"augment={name}"), PLAIN)
    first, last = [finish(training.epoch(never)) for _ in range(2)]
    assert first is not None
    assert last is not None
    assert last.train_loss < first.train_loss


def test_top5_of_few_classes_is_all_of_them() -> None:
    logits, labels = torch.randn(8, 3), torch.zeros(8, dtype=torch.int64)
    assert batch_sums(torch.tensor(0.0), logits, labels)[2] == 8


@pytest.mark.parametrize("activation", ["relu", "mish", "tact"])
def test_an_epoch_equals_a_plain_loop(activation: str, tmp_path: Path) -> None:
    """Same images, same order, eager NCHW float32, unfused Adam: the same losses and weights."""
    config = tiny_config(tmp_path, f"activation={activation}")
    training = Training(config, PLAIN)
    ours = [finish(training.epoch(never)) for _ in range(2)]

    dataset = build_dataset(config.dataset)
    batches = dataset.batches(build_augment(config.augment), config.batch_size, torch.device("cpu"))
    network = build_network(config, dataset.num_classes)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, foreach=False, fused=False)
    for epoch, metrics in enumerate(ours):
        network.train()
        losses, hits, images = 0.0, 0, 0
        for x, y in batches.train(generator(config.seed, Stream.EPOCH, epoch)):
            optimizer.zero_grad()
            logits = network(x.contiguous())
            loss = F.cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(y)
            hits += int((logits.argmax(1) == y).sum())
            images += len(y)
        assert metrics is not None
        # Adam divides by the root of the squared gradient: rounding grows where a gradient is near 0.
        assert metrics.train_loss == pytest.approx(losses / images, rel=1e-4)
        assert metrics.train_top1 == pytest.approx(hits / images, abs=1.01 / images)
    for one, other in zip(training.network.parameters(), network.parameters(), strict=True):
        assert (one - other).abs().max() < 4 * config.lr


def test_fused_adam_takes_the_step_of_the_plain_one(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    networks = [build_network(config, 10) for _ in range(2)]
    optimizers = [
        PLAIN.make_optimizer(config.optimizer, networks[0], 0.01),
        torch.optim.Adam(networks[1].parameters(), lr=0.01, foreach=False, fused=False),
    ]
    images = torch.randn(16, 3, 8, 8)
    for network, optimizer in zip(networks, optimizers, strict=True):
        network(images).square().sum().backward()
        optimizer.step()
    assert optimizers[0].defaults["fused"]
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        # One step of Adam moves a weight by at most lr; float32 rounding of that and of the weight.
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0.01 * 1e-4)


def test_the_test_images_can_wait_until_the_end(tmp_path: Path) -> None:
    """Nothing else changes; the validation part is evaluated all the time."""
    words = ["dataset.validation=24", "epochs=3"]
    rows = {
        when: run_to_end(Training(tiny_config(tmp_path, *words, f"test={when}"), PLAIN))[1]
        for when in ("each_epoch", "end")
    }
    for late, early in zip(rows["end"], rows["each_epoch"], strict=True):
        assert None not in (early.test_loss, early.test_top1, early.test_top5, late.val_loss)
        hidden = {} if late.epoch == 2 else dict.fromkeys(("test_loss", "test_top1", "test_top5"))
        assert untimed(late) == untimed(replace(early, **hidden))


def test_the_validation_part_is_evaluated_as_the_test_images_are(tmp_path: Path) -> None:
    training = Training(tiny_config(tmp_path, "dataset.validation=24", "epochs=1"), PLAIN)
    _, (row,) = run_to_end(training)
    assert row.images == training.batches.train_images == 96 - 24
    assert training.images_done == training.images_per_epoch == 96 + 48
    with torch.inference_mode():
        for part, loss, top1 in (
            (training.batches.validation(), row.val_loss, row.val_top1),
            (training.batches.test(), row.test_loss, row.test_top1),
        ):
            images, labels = (torch.cat(both) for both in zip(*part, strict=True))
            logits = training.network(images)
            assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
            assert top1 == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_without_a_validation_part_its_columns_are_empty(tmp_path: Path) -> None:
    _, (row,) = run_to_end(Training(tiny_config(tmp_path, "epochs=1"), PLAIN))
    assert (row.val_loss, row.val_top1, row.val_top5) == (None, None, None)


def test_a_run_tells_where_it_stands(tmp_path: Path) -> None:
    state, rows, states = run_and_record(Training(tiny_config(tmp_path, "epochs=3"), PLAIN))
    assert state == states[-1] == State.FINISHED
    assert states[:-1] == [State.RUNNING] * 2
    assert [row.epoch for row in rows] == [0, 1, 2]


def test_a_run_whose_loss_is_not_finite_ends(tmp_path: Path) -> None:
    state, rows, states = run_and_record(Training(tiny_config(tmp_path, "epochs=3", "lr=1e20"), PLAIN))
    assert (state, states, len(rows)) == (State.DIVERGED, [State.DIVERGED], 1)


@pytest.mark.parametrize("column", ["train_loss", "test_loss", "val_loss"])
def test_any_loss_that_was_measured_counts(column: str) -> None:
    row = Metrics(0, 0.1, 1.0, 0.5, None, None, None, 1.0)
    assert is_finite(row)
    assert is_finite(replace(row, **{column: 2.0}))
    assert not is_finite(replace(row, **{column: math.nan}))
    assert not is_finite(replace(row, **{column: math.inf}))


def test_a_hook_sees_every_step_and_can_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def hook(training: Training, step: int, stop: Stop) -> bool:
        seen.append((training.epochs_done, step, stop()))
        return (training.epochs_done, step) == (1, 2)

    monkeypatch.setattr(loop, "step_hooks", [hook])
    training = Training(tiny_config(tmp_path, "epochs=3"), PLAIN)
    assert finish(training.run(never)) is State.INTERRUPTED
    # Three training steps and one of the test images.
    assert seen == [(epoch, step, False) for epoch in range(2) for step in range(4)][:7]


@pytest.mark.parametrize("schedule", ["cosine", "warmup_cosine", "linear", "onecycle"])
def test_schedules_by_step_move_with_every_batch_and_go_on_exactly(schedule: str, tmp_path: Path) -> None:
    words = [f"schedule={schedule}", "epochs=4", "lr=0.01", "activation=tact", "optimizer=adamw"]
    config = tiny_config(tmp_path, *words, "optimizer.coefficient_lr_factor=5")
    whole, part = Training(config, PLAIN), Training(config, PLAIN)
    rates: list[list[float]] = []
    step = whole.step

    def noted(*batch: Any) -> None:
        rates.append([group["lr"] for group in whole.optimizer.param_groups])
        step(*batch)

    whole.step = noted  # type: ignore[assignment]
    first = [finish(whole.epoch(never)) for _ in range(2)]
    state = copy.deepcopy(whole.state_dict())
    _, rows = run_to_end(whole)
    assert [row.lr for row in [*first, *rows]] == [rates[3 * epoch][0] for epoch in range(4)]  # type: ignore[union-attr]
    assert len({pair[0] for pair in rates}) == len(rates) == 4 * 3
    assert max(pair[0] for pair in rates) <= 0.01
    for weights, _, coefficients in rates:
        assert coefficients == pytest.approx(5 * weights)
    part.load_state_dict(state)
    assert list(map(untimed, run_to_end(part)[1])) == list(map(untimed, rows))


def test_process_wide_warning_filters_stay(tmp_path: Path) -> None:
    before = list(warnings.filters)
    Training(tiny_config(tmp_path), PLAIN)
    assert warnings.filters == before


def test_a_stopped_epoch_leaves_the_epoch_undone(tmp_path: Path) -> None:
    training = Training(tiny_config(tmp_path), PLAIN)
    steps = iter([False, True])
    assert finish(training.epoch(lambda: next(steps))) is None
    assert training.epochs_done == 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_going_on_from_a_state_equals_never_having_stopped(precision: str, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "activation=mtact", "schedule=step", "schedule.step_size=1")
    engine = Engine(torch.device("cpu"), precision, deterministic=False)
    undisturbed = Training(config, engine)
    finish(undisturbed.epoch(never))
    file = tmp_path / "state.pt"
    torch.save(undisturbed.state_dict(), file)
    continued = Training(config, engine)
    continued.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(2):
        one, other = finish(undisturbed.epoch(never)), finish(continued.epoch(never))
        assert one is not None
        assert other is not None
        assert {**vars(one), "seconds": 0} == {**vars(other), "seconds": 0}
    for name, weight in undisturbed.network.state_dict().items():
        assert torch.equal(weight, continued.network.state_dict()[name]), name


def test_the_schedule_divides_the_rate(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "schedule=step", "schedule.step_size=2", "lr=0.5")
    training = Training(config, PLAIN)
    rates = [finish(training.epoch(never)).lr for _ in range(5)]  # type: ignore[union-attr]
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005])


def test_the_seed_draws_weights_coefficients_and_order(tmp_path: Path) -> None:
    def first(seed: int) -> tuple[torch.Tensor, set[tuple[str, float]], torch.Tensor]:
        training = Training(tiny_config(tmp_path, "activation=tact", f"seed={seed}"), PLAIN)
        starts = {(row.coefficient, row.value) for row in training.coefficients()}
        images, _ = next(iter(training.batches.train(generator(seed, Stream.EPOCH, 0))))
        return next(training.network.parameters()).detach(), starts, images

    weights, starts, images = first(0)
    again, same_starts, same_images = first(0)
    assert torch.equal(weights, again)
    assert starts == same_starts
    assert torch.equal(images, same_images)
    assert [name for name, _ in sorted(starts)] == ["alpha", "beta"]  # one draw, the start of all sites
    assert all(0 <= value < 0.5 for _, value in starts)
    other, other_starts, other_images = first(1)
    assert not torch.equal(weights, other)
    assert starts != other_starts
    assert not torch.equal(images, other_images)


@pytest.mark.parametrize(
    ("overrides", "learned", "rows_a_site"),
    [
        (["activation.alpha=0.25", "activation.beta=0.1"], True, 2),
        (["activation.learnable=false"], False, 2),
        (["activation.per_channel=true"], True, 16),
    ],
)
def test_how_the_coefficients_start_is_config(
    overrides: list[str], learned: bool, rows_a_site: int, tmp_path: Path
) -> None:
    training = Training(tiny_config(tmp_path, "activation=tact", *overrides), PLAIN)
    before = values(training)
    first_site = next(iter(before))[0].partition("[")[0]
    assert sum(site.partition("[")[0] == first_site for site, _ in before) == rows_a_site
    if "activation.alpha=0.25" in overrides:
        assert {name: value for (_, name), value in before.items()} == pytest.approx(
            {"alpha": 0.25, "beta": 0.1}
        )
    finish(training.epoch(never))
    assert (values(training) != before) is learned


def values(training: Training) -> dict[tuple[str, str], float]:
    return {(row.site, row.coefficient): row.value for row in training.coefficients()}


def test_each_site_learns_its_own_coefficients(tmp_path: Path) -> None:
    training = Training(tiny_config(tmp_path, "activation=mtact", "lr=0.05"), PLAIN)
    finish(training.epoch(never))
    alphas = [site.alpha.item() for _, site in activation_sites(training.network)]
    assert len(set(alphas)) == len(alphas) > 1


class ReadsByHost(TorchDispatchMode):
    """Counts `.item()`, `.tolist()` and the like: on a GPU, each would make the host wait."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("activation", ["relu", "mish", "tact"])
def test_the_host_reads_nothing_between_steps(activation: str, tmp_path: Path) -> None:
    """However many steps an epoch has; a new optimizer's first step may read its settings."""
    reads = []
    for batch_size in (32, 8):
        recipe = ("label_smoothing=0.1", "clip_grad=0.5", "ema=0.9")
        words = (f"activation={activation}", f"batch_size={batch_size}", *recipe)
        training = Training(tiny_config(tmp_path, *words), PLAIN)
        finish(training.epoch(never))
        with ReadsByHost() as host:
            finish(training.epoch(never))
            torch.ones(()).item()
        reads.append(host.count)
    assert reads[0] == reads[1] >= 1  # the one that proves that we count


def test_streams_do_not_overlap() -> None:
    seeds = {
        stream_seed(seed, stream, index) for seed in range(20) for stream in Stream for index in range(20)
    }
    assert len(seeds) == 20 * len(Stream) * 20


def test_auto_is_resolved_and_a_missing_gpu_is_not_replaced() -> None:
    engine = choose_engine(TrainerConfig())
    assert engine.precision in ("float32", "bfloat16")
    assert engine.device.type in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("name", "features", "precision"),
    [
        ("AMD EPYC", {"avx512_bf16"}, "bfloat16"),
        ("AMD EPYC", {"avx2"}, "float32"),
        ("Intel Xeon", {"avx512_bf16"}, "bfloat16"),
        ("Intel Xeon", {"avx512_bf16", "avx512_fp16", "amx_bf16"}, "bfloat16"),
        ("Intel Xeon", {"avx512_bf16", "avx512_fp16"}, "float32"),  # a virtual machine hides AMX
        ("ARM Neoverse-V1", set(), "float32"),
    ],
)
def test_auto_takes_bfloat16_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch, name: str, features: set[str], precision: str
) -> None:
    has = {"cpu_name": name, **dict.fromkeys(features, True)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert choose_engine(TrainerConfig("cpu")).precision == precision


def test_settings_are_put_back() -> None:
    before = torch.get_num_threads()
    with Engine(torch.device("cpu"), "float32", deterministic=True).settings(threads=before + 1):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled()
        assert not determinism.fill_uninitialized_memory  # which no result depends on
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
    assert determinism.fill_uninitialized_memory


def test_a_stream_is_lent_again_once_its_run_is_gone() -> None:
    class Run: ...

    made = []

    def make(device: torch.device) -> object:
        made.append(device)
        return object()

    lent = Lent(make)
    gpus = torch.device("cuda", 0), torch.device("cuda", 1)
    one, other, elsewhere = Run(), Run(), Run()
    first, second = (lent.lend(run, gpus[0]) for run in (one, other))
    lent.lend(elsewhere, gpus[1])
    assert first is not second
    del one
    assert lent.lend(elsewhere, gpus[0]) is first
    assert made == [gpus[0], gpus[0], gpus[1]]


def test_a_training_that_has_ended_is_garbage_at_once(tmp_path: Path) -> None:
    """So that its stream is free for the next run of its process."""
    training = Training(tiny_config(tmp_path), PLAIN)
    finish(training.epoch(never))
    gone = weakref.ref(training)
    gc.disable()
    try:
        del training
        assert gone() is None
    finally:
        gc.enable()


def test_the_next_epoch_is_drawn_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, "augment=published", "epochs=3")
    ahead, late = Training(config, PLAIN), Training(config, PLAIN)
    monkeypatch.setattr(late, "_prepare_next", lambda: None)
    drawn: list[str] = []
    part = "steps"

    def draw(generator: torch.Generator, own: Any = ahead.batches.draw) -> Any:  # type: ignore[attr-defined]
        drawn.append(part)
        return own(generator)

    def prepare_next(own: Any = ahead._prepare_next) -> None:
        nonlocal part
        part = "ahead"
        own()
        part = "steps"

    def means(sums: Any, own: Any = ahead._means) -> Any:
        drawn.append("read")
        return own(sums)

    monkeypatch.setattr(ahead.batches, "draw", draw)
    monkeypatch.setattr(ahead, "_prepare_next", prepare_next)
    monkeypatch.setattr(ahead, "_means", means)
    assert [untimed(row) for row in run_to_end(ahead)[1]] == [untimed(row) for row in run_to_end(late)[1]]
    # Before the host waits for the sums; the last epoch has no next one.
    assert drawn == ["steps", "ahead", "read", "ahead", "read", "read"]


def test_a_run_on_a_gpu_borrows_its_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lending(Exception):  # noqa: N818
        """Ends the run's making where it would need the GPU."""

    def lend(borrower: object, device: torch.device) -> None:
        raise Lending(type(borrower).__name__, device)

    monkeypatch.setattr(loop.streams, "lend", lend)
    with pytest.raises(Lending) as ended:
        Training(tiny_config(tmp_path), Engine(torch.device("cuda"), "float32", deterministic=False))
    assert ended.value.args == ("Training", torch.device("cuda"))
