"""What several tests of jobs share."""

from __future__ import annotations

import signal

import pytest
import torch
from job_steps import FAKE

import store
from tuning.jobs import processes, queue as jobs, watcher


@pytest.fixture(scope="module")
def one_thread():
    """One torch thread for a whole file: `pytestmark = pytest.mark.usefixtures("one_thread")`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def queue(db_path, tmp_path):
    """enqueue(name, *flags) -> id, on the device `cpu`; what still runs at the end of the test is ended."""

    def enqueue(name="run", *flags, device="cpu", **more) -> int:
        folder = tmp_path / name
        return jobs.enqueue_command(db_path, [*FAKE, "--output_dir", str(folder), *flags], folder, device=device, **more)

    yield enqueue
    for job in store.jobs.active(db_path):
        watcher.send_all(job, signal.SIGKILL)
        if job["pid"]:
            processes.send_signal(job["pid"], job["process_start"], signal.SIGKILL)
