"""The Triton kernels, without a GPU: interpreted, compiled, and where they go."""

import multiprocessing
import sysconfig
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from support import distances_of_tact
from torch import nn

from senet_lab.networks.activations import MTAct, TAct
from senet_lab.training import cuda

pytest.importorskip("triton")  # which torch brings along where it can be built for CUDA

LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "slice": lambda x: torch.stack((x, x), dim=-1)[..., 0],
}


def distances(kind: str, dtype: torch.dtype, layout: str) -> list[float]:
    """Of output and gradients from the exact ones, over what rounding may take."""
    from senet_lab.training.cuda.tact import BLOCK, FastMTAct, FastTAct

    act = {"tact": FastTAct, "mtact": FastMTAct}[kind](4, 0.25, 0.5)
    x = LAYOUTS[layout](3 * torch.randn(5, 4, 25, 20).to(dtype))
    assert x.numel() % BLOCK
    # The interpreter cuts bfloat16 off where a GPU rounds.
    once = {torch.float32: 0.0, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-11}[dtype]
    return distances_of_tact(act, x, torch.randn(5, 4, 25, 20).to(dtype), once)


def test_the_kernels_interpreted_are_tact(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: Triton reads the variable when it is imported."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        cases = [
            pool.submit(distances, kind, dtype, layout)
            for kind in ("tact", "mtact")
            for dtype in (torch.float32, torch.bfloat16, torch.float16)
            for layout in LAYOUTS
        ]
        assert [case.result() for case in cases if max(case.result()) > 1] == []


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_kernels_compile(capability: int, dtype: str) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from senet_lab.training.cuda.tact import BLOCK, backward_kernel, forward_kernel

    for kernel in (forward_kernel, backward_kernel):
        maps = {"x_ptr", "out_ptr", "grad_ptr", "grad_x_ptr"}
        types = {name: f"*{dtype}" if name in maps else "*fp32" for name in kernel.arg_names}
        source = ASTSource(kernel, types | {"count": "i32", "block": "constexpr"}, {"block": BLOCK})
        target = GPUTarget("cuda", capability, 32)
        compiled = triton.compile(source, target=target, options={"enable_fp_fusion": True})
        assert compiled.asm["cubin"]
        assert ".local" not in compiled.asm["ptx"]  # nothing is spilled to memory


def test_scalar_coefficients_are_made_fast_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "triton_works", lambda: True)
    network = nn.Sequential(TAct(4, 0.1, 0.2), MTAct(4, 0.1, 0.2), TAct(4, 0.1, 0.2, per_channel=True))
    before = network.state_dict()
    cuda.use_fast_layers(network)
    assert [type(module).__name__ for module in network] == ["FastTAct", "FastMTAct", "TAct"]
    assert network[1].effective()[0].item() == pytest.approx(0.1**2)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(before[key].data_ptr() == after[key].data_ptr() for key in before)


def test_the_header_is_sought_where_triton_seeks_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A system Python on Debian names /usr/local/include first, where the header is not."""
    (tmp_path / "Python.h").touch()
    folders = {"posix_local": "/usr/local/include", "posix_prefix": str(tmp_path)}
    monkeypatch.setattr(cuda, "has_triton", lambda: True)
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setattr(sysconfig, "get_default_scheme", lambda: "posix_local")
    monkeypatch.setattr(sysconfig, "get_path", lambda _, scheme: folders[scheme])
    assert cuda.triton_works()
    (tmp_path / "Python.h").unlink()
    assert not cuda.triton_works()


def test_without_a_compiler_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "has_triton", lambda: True)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert not cuda.triton_works()
    network = nn.Sequential(TAct(4, 0.1, 0.2))
    cuda.use_fast_layers(network)
    assert type(network[0]) is TAct
