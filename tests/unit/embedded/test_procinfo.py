"""What `ps` says of a process is the same in every zone and language."""

import calendar
import os
import time
from pathlib import Path

import pytest

from app.embedded import procinfo


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="there is no ps here, and /proc takes its place")
def test_the_start_of_a_process_does_not_depend_on_the_zone_of_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "FAR-12")
        said = procinfo._ps("-o", "lstart=", "-p", str(os.getpid())).strip()
        started = calendar.timegm(time.strptime(said, "%a %b %d %H:%M:%S %Y"))
    time.tzset()  # `strptime` has told the C library of that zone, which keeps it for every later test
    # Tests do not run for hours; the zone is twelve away.
    assert abs(time.time() - started) < 6 * 3600
