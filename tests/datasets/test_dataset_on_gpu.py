"""A data set built on a CUDA device holds what one built on a CPU holds; without one there is nothing to test."""

from __future__ import annotations

import pytest
import torch
from dataset_helpers import CHEAP

from lacbed.datasets.build import build
from lacbed.datasets.dataset import LacbedDataset
from lacbed.datasets.plan import make_plan
from lacbed.datasets.verify import verify
from lacbed.datasets.workers import GPU_TOGETHER, here, processes

if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)


@pytest.mark.parametrize("count", [1, 3])
def test_crystals_computed_together_on_a_gpu_equal_those_of_the_cpu(table, tmp_path, count):
    plan = make_plan(table, CHEAP, batch=4)
    build(plan, tmp_path / "cpu.zarr", lambda: here("cpu"))
    built = build(plan, tmp_path / "gpu.zarr", lambda: processes(count, 8e9, "cuda"), together=GPU_TOGETHER)
    assert not built.manifest["failures"]
    assert not built.progress.gpu_failures
    on_cpu, on_gpu = LacbedDataset(tmp_path / "cpu.zarr"), LacbedDataset(tmp_path / "gpu.zarr")
    assert len(on_cpu) == len(on_gpu) == len(table)
    for i in range(len(on_cpu)):
        assert int(on_cpu[i]["beams"]) == int(on_gpu[i]["beams"])
        assert float((on_cpu[i]["pattern"] - on_gpu[i]["pattern"]).abs().max()) < 2e-3
        assert torch.equal(on_cpu[i]["potential"], on_gpu[i]["potential"])
    assert not verify(tmp_path / "gpu.zarr", 3).problems
