"""What builds of data sets share at the command line: who computes, and how it went."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacbed.cli.console import Reporter
from lacbed.errors import LacbedError, SettingError
from lacbed.io.checks import check_number

if TYPE_CHECKING:
    from lacbed.datasets.build import Built

_MOST_SHOWN = 10


def workers_for(workers: int | None, scheduler: str | None, device: str) -> tuple[Any, int]:
    """What makes the workers, asked for at once so that mistakes show before any work; and rows in a job."""
    from lacbed.datasets import workers as w
    from lacbed.datasets.cluster import cluster
    from lacbed.datasets.workers import GPU_TOGETHER, cores, worker_memory
    from lacbed.setup import choose_device

    if workers is not None:
        check_number("--workers", workers, 1)
    if scheduler is None:
        on_gpu = choose_device(device).type == "cuda"
        count = workers or (1 if on_gpu else cores())
        return lambda: w.processes(count, worker_memory(), device), GPU_TOGETHER if on_gpu else 1
    if workers is not None:
        raise SettingError("give --workers or --scheduler, not both")
    with cluster(scheduler):
        together = GPU_TOGETHER if device.startswith("cuda") else 1  # what the workers have is not known here
        return lambda: cluster(scheduler, device), together


def report_built(built: Built, out: Path, reporter: Reporter) -> None:
    """Say how a build went.

    Raises:
        LacbedError: if no crystal could be computed.
    """
    manifest, state = built.manifest, built.progress
    failures = manifest["failures"]
    now = state.done - state.before
    reporter.say(
        f"{manifest['crystals']} crystals in {out}, {len(failures)} failed; "
        f"{now} in this run" + (f", {state.rate:.2f} per second" if now else "")
    )
    for failure in failures[:_MOST_SHOWN]:
        reporter.say(f"  failed {failure['formula']} ({failure['source_id']}): {failure['reason']}")
    if len(failures) > _MOST_SHOWN:
        reporter.say(f"  and {len(failures) - _MOST_SHOWN} more; see {out / 'manifest.json'}")
    if state.gpu_failures:
        why, times = state.gpu_failures.most_common(1)[0]
        reporter.warn(
            f"{sum(state.gpu_failures.values())} crystals were computed on the CPU, because the GPU failed; "
            f"most often ({times}): {why}"
        )
    for line in manifest["attribution"]:
        reporter.say(f"  attribution required: {line}")
    reporter.finish(
        {
            "path": out,
            "crystals": manifest["crystals"],
            "failures": failures,
            "this_run": now,
            "before": state.before,
            "seconds": state.seconds,
            "crystals_per_second": state.rate,
            "peak_memory": state.peak_memory,
            "left_to_cpu": sum(state.gpu_failures.values()),
            "cpu_seconds": manifest["cpu_seconds"],
            "attribution": manifest["attribution"],
        }
    )
    if not manifest["crystals"]:
        why, times = Counter(failure["reason"] for failure in failures).most_common(1)[0]
        raise LacbedError(
            f"no crystal of {out} could be computed; most often ({times} of {len(failures)}): {why}; change the "
            "config or the catalogue and build in another folder, or try again with --retry-failed"
        )
