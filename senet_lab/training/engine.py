"""Device tuning: device, memory layout, precision, threads."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils import deterministic as determinism

from senet_lab.build import Node, build_optimizer
from senet_lab.config import TrainerConfig
from senet_lab.errors import UsageError
from senet_lab.training import cpu, cuda


@dataclass(frozen=True)
class Engine:
    """A device and how it computes. `precision` is never `auto` here."""

    device: torch.device
    precision: str
    deterministic: bool
    compiled: bool = False
    """Forward pass and loss go through `torch.compile`."""
    cuda_graph: bool = False
    """Training steps are captured where they can be; see `training/steps.py`."""

    def place(self, network: nn.Module, processes: int = 1) -> nn.Module:
        """Move the network to the device, in channels_last like the batches.

        Args:
            network: the network, on the CPU.
            processes: number of processes that train it.
        """
        if self.device.type == "cpu":
            cpu.keep_memory()
            if self.compiled:  # torch.compile generates its own kernels of other layers
                cpu.use_fast_activations(network)
            else:
                cpu.use_fast_layers(network)
        elif not self.compiled:
            cuda.use_fast_layers(network)
            if processes == 1:  # several processes synchronise their norms
                cuda.use_fast_norms(network)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def make_optimizer(self, node: Node, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """The optimizer of a placed network, with its fastest kernels for the device.

        A fused kernel for all parameters if there is one, and on CUDA a capturable step.
        """
        optimizer = build_optimizer(node, network, lr, fused=True, capturable=self.device.type == "cuda")
        if self.device.type == "cpu":
            cpu.use_fast_optimizer(optimizer)
        # Warm-up steps and distributed runs step outside of a graph on purpose: suppress torch's warning.
        optimizer._warned_capturable_if_run_uncaptured = True
        return optimizer

    def autocast(self) -> AbstractContextManager:
        """The context of every forward pass."""
        if self.precision == "bfloat16":
            # A cached cast of a weight from before a capture would be a stale input of the graph.
            return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=self.device.type == "cpu")
        return nullcontext()

    @contextmanager
    def settings(self, threads: int) -> Iterator[None]:
        """Process-wide settings of one run, restored afterwards."""
        before = (
            torch.get_num_threads(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(),
            determinism.fill_uninitialized_memory,  # type: ignore[attr-defined]
        )
        try:
            self._apply(threads, self.precision == "tf32", self.precision == "tf32", not self.deterministic)
            torch.use_deterministic_algorithms(self.deterministic)
            # A debugging aid against reads of uninitialised memory; it takes up to half of a step.
            determinism.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            yield
        finally:
            self._apply(*before[:4])
            torch.use_deterministic_algorithms(before[4])
            determinism.fill_uninitialized_memory = before[5]  # type: ignore[attr-defined]

    def _apply(self, threads: int, matmul_tf32: bool, cudnn_tf32: bool, benchmark: bool) -> None:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
        torch.backends.cudnn.allow_tf32 = cudnn_tf32
        torch.backends.cudnn.benchmark = benchmark

    @contextmanager
    def search(self, wanted: bool) -> Iterator[None]:
        """Within, cuDNN searches for the fastest kernels only if `wanted`."""
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = before and wanted
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before

    def synchronize(self) -> None:
        """Wait until the device has finished all submitted work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def choose_engine(trainer: TrainerConfig) -> Engine:
    """The engine for this machine, with `auto` resolved.

    Raises:
        UsageError: an unknown or missing device (there is no fallback from GPU to CPU), or `compile=true`
            without a compiler.
    """
    device, precision = trainer.device, str(trainer.precision)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"trainer.device={device}: must be auto, cpu, cuda or cuda:<n>") from error
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(f"trainer.device={device}: must be auto, cpu, cuda or cuda:<n>")
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (chosen.index or 0) >= count:
            raise UsageError(
                f"trainer.device={device}: this machine has {count} CUDA devices; use cpu or auto"
            )
    if precision == "auto":
        precision = "bfloat16" if _fast_bfloat16(chosen) else "float32"
    if trainer.deterministic and chosen.type == "cuda":
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # required by cuBLAS, before its first use
    if trainer.compile:
        _require_compiler(chosen)
    captured = trainer.cuda_graph and chosen.type == "cuda"
    return Engine(chosen, precision, trainer.deterministic, trainer.compile, captured)


def _require_compiler(device: torch.device) -> None:
    """Refuse `trainer.compile=true` if `torch.compile` cannot generate code for the device.

    Raises:
        UsageError: names the missing part.
    """
    if device.type == "cuda":
        if not cuda.triton_works():
            raise UsageError(
                "trainer.compile=true: needs Triton, a GPU that it supports, a C compiler and Python's "
                "headers; use false"
            )
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UsageError("trainer.compile=true: needs a C++ compiler such as g++; use false") from error


def _fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones (docs/performance.md)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    has = torch.cpu.get_capabilities()
    # Intel's processors with AVX512_FP16 have AMX, too; float32 is faster where a virtual machine hides it.
    hides_amx = has.get("cpu_name", "").startswith("Intel") and has.get("avx512_fp16", False)
    return has.get("amx_bf16", False) or (has.get("avx512_bf16", False) and not hides_amx)
