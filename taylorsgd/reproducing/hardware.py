"""What a run took, and on which machine."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from taylorsgd.whole_files import whole_file

__all__ = ["described", "write_run"]


def described() -> str:
    """The processor or, if JAX computes on one, the accelerator, and how many cores this process may use.

    Example:
        >>> "core" in described()
        True
    """
    import jax

    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processor = f"{cores} core{'s' * (cores > 1)} of {_processor()}"
    return processor if device.platform == "cpu" else f"{device.device_kind}, {processor}"


def _processor() -> str:
    """The model's name, as precisely as the system says it."""
    listed = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", listed.read_text(), re.MULTILINE) if listed.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def write_run(path: Path, seconds: float, processor_seconds: float) -> None:
    """Write what a run took: beside its verdict, not in it, which is the same whenever it is run.

    Args:
        path: the file.
        seconds: by the clock, those of the parts of an interrupted run included.
        processor_seconds: of all cores, likewise.
    """
    content: dict[str, Any] = {
        "seconds": round(seconds, 1),
        "processor seconds": round(processor_seconds, 1),
        "machine": described(),
    }
    with whole_file(path) as file:
        file.write(f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())
