"""What was taken over time: in ``remuda status``, and in the log when the service stops."""

from __future__ import annotations

import json
import re

from control import remuda
from http_client import get
from serving import wait_until

LINE = re.compile(
    r"Memory in 0\.0 hours, least/mean/most in MiB: all processes (\d+)/(\d+)/(\d+); "
    r"slot 0 (\d+)/(\d+)/(\d+), slot 1 (\d+)/(\d+)/(\d+); workers replaced: (.*)"
)


def test_the_report_has_least_mean_and_most_and_why_workers_were_replaced(serve, home):
    # With a limit memory is measured every two seconds.
    args = ("-w", "2", "--max-requests", "12", "--max-memory-total", "10G")
    with serve(*args, app="leaking:app", env=home) as server:

        def memory() -> dict:
            return json.loads(remuda("status", "--json", env=home).stdout)["memory"]["now"]

        wait_until(lambda: memory()["total"], "it was measured")
        first = memory()["total"]["most"]
        for number in range(40):
            get(server.port, f"/leak/{number}")
        wait_until(lambda: memory()["replaced"].get("max_requests"), "a worker was replaced")
        wait_until(lambda: memory()["total"]["most"] > first, "it was measured again")
        now = memory()
        assert [slot["slot"] for slot in now["slots"]] == [0, 1]
        for taken in [now["total"], *(slot["private"] for slot in now["slots"])]:
            assert 0 < taken["least"] <= taken["mean"] <= taken["most"]
        assert all(slot["private"]["most"] <= slot["pss"]["most"] for slot in now["slots"])
        text = remuda("status", env=home).stdout
        assert re.search(r"least/mean/most; workers replaced: \d+ by max_requests$", text, re.M)
        assert re.search(r"^slot 1 +\d+/\d+/\d+ MiB +\d+/\d+/\d+ MiB$", text, re.MULTILINE), text
        assert server.stop() == 0
        found = LINE.search(server.log())
        assert found, server.log()
        least, mean, most = (int(number) for number in found.groups()[:3])
        assert 0 < least <= mean <= most
        assert re.fullmatch(r"\d+ by max_requests", found[10])


def test_without_a_limit_it_is_measured_now_and_then_and_a_short_life_has_no_report(serve, home):
    with serve(app="hello:app", env=home) as server:
        assert server.stop() == 0
        assert "Memory in " not in server.log()
