"""Processes for tasks."""

from ._worker_processes import current_default_process_limiter as current_default_process_limiter
from ._worker_processes import run as run

__all__ = ["current_default_process_limiter", "run"]
