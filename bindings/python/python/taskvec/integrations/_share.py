"""How many threads a worker may use, so that workers of one machine do not fight for its cores."""

from __future__ import annotations

import os
import sys


def threads_of_worker(workers: int | None = None) -> int | None:
    """The CPUs that Ray gave the worker that this runs in; or its share of the machine, of so many workers; or ``None``, all."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
        if cpus >= 1:
            return int(cpus)
        nodes = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
        workers = -(-(workers or 1) // max(1, nodes))  # on each of them
    if workers is not None and workers > 1:
        return max(1, (os.cpu_count() or 1) // workers)
    return None
