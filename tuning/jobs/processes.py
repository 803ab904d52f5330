"""The processes of a job: found, and signalled only if they are who they were."""

from __future__ import annotations

import os
import signal

import psutil

from common.process import identity, is_alive

__all__ = ["MARK", "identity", "is_alive", "members", "send_signal"]
MARK = "MIRROR_TEST_JOB"  # environment variable that a job's processes carry


def send_signal(pid: int, known: str, number: signal.Signals) -> bool:
    """Signals process `pid` if it is still the one whose identity was noted; whether it was."""
    handle = None
    try:
        handle = handle_of(pid)
        if identity(pid) != known:
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle is not None:
            os.close(handle)


def handle_of(pid: int) -> int | None:
    """What stands for this very process, even if its number is given anew; None where the system has no such thing."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:  # a kernel that is older than this Python, or a container that does not let it through
        return None


def members(leader: int | None, token: str | None) -> list[tuple[int, str]]:
    """(pid, identity) of a job's processes but the one that began its session, youngest first, so children before parents.

    They stay members when their parent has died. The token in their environment excludes a session that got the number later.
    """
    found = []
    for process in psutil.process_iter() if leader and token else ():
        try:
            if process.pid == leader or os.getsid(process.pid) != leader or process.environ().get(MARK) != token:
                continue
            if known := identity(process.pid):
                found.append((process.create_time(), process.pid, known))
        except (psutil.Error, OSError):  # gone, or somebody else's
            continue
    return [(pid, known) for _, pid, known in sorted(found, reverse=True)]
