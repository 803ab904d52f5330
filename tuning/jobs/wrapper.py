"""`python -m tuning.jobs.wrapper RECORD TOKEN ARGUMENT...`: runs `python ARGUMENT...` and writes down how it ended.

An exit code is told to the parent only, and the app that started a job may be closed by then. So this process is the parent: it
leads a session of its own, and its record (RECORD, JSON: token, pid, start, child_pid, child_start, code) is what any app reads.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from common.space import DiskFull
from tuning.jobs.processes import identity
from tuning.train.run_files import write_json

NICE = 10  # a tenth of what other work on the same cores gets; docs/decisions.md
AUTOGROUP = Path("/proc/self/autogroup")


def main(arguments: list[str]) -> int:
    record, token, *command = arguments
    # The child decides when to end, and gets these signals itself when the machine goes down. A function, as an ignored
    # signal would be ignored by the child, too.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    give_way()
    known = {"token": token, "pid": os.getpid(), "start": identity(os.getpid())}
    try:
        write_json(Path(record), known)
    except DiskFull as error:
        print(error, file=sys.stderr)
        return 1
    print("$", shlex.join(["python", *command]), flush=True)
    child = subprocess.Popen([sys.executable, *command], stdin=subprocess.DEVNULL)
    known |= {"child_pid": child.pid, "child_start": identity(child.pid)}
    write_json(Path(record), known)
    code = child.wait()
    write_json(Path(record), known | {"code": code, "ended": time.time()})
    return 0


def give_way() -> None:
    """Whoever works at this machine comes first, the page before all: the job takes what they leave."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    # Linux may weigh sessions against each other, and this is one of its own: then a process's own number counts for nothing
    with contextlib.suppress(OSError):
        AUTOGROUP.write_text(str(NICE))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
