"""Does memory grow? `python -m bench.soak [--requests 200000] [--streams 20000]`: run by hand, some minutes.

One gateway with everything on but redaction, then requests and streams in ten parts; after each, the memory of the
serving process. Growth is what the last part has above the second: caches fill in the first. Exit code 1 where it is
more than `--most` MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench.measures import Load, NotMeasured, closed_loop
from bench.processes import Running, gateway, redis_server, upstream
from bench.sets import everything_policies

PARTS = 10


def statuses(log: Path) -> dict[str, int]:
    """How often each status, and which error, stands in the records."""
    found: Counter[str] = Counter()
    with log.open("rb") as lines:
        for line in lines:
            record = json.loads(line)
            found[f"{record.get('http.response.status_code')} {record.get('error.type', '')}".strip()] += 1
    return dict(found)


def part(system: Running, load: Load, wanted: int) -> int:
    """At least so many requests; how many there were."""
    done, rate = 0, 0.0
    while done < wanted:
        seconds = 2.0 if done == 0 else max(1.0, min(30.0, (wanted - done) / rate))
        try:
            result = closed_loop(system, load, seconds)
        except NotMeasured as error:
            result = {"errors": 1.0, "rps": 0.0}
            print(error)
        if result["errors"]:
            print(f"{result['errors']:.0f} errors; statuses so far: {statuses(system.log)}", flush=True)
        rate = max(1.0, result["rps"])
        done += int(rate * round(seconds))
    return done


def main() -> None:
    """Parse, load, watch."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--streams", type=int, default=20_000)
    parser.add_argument("--most", type=float, default=8.0, help="MB that memory may grow")
    parser.add_argument("--out", type=Path, help="write the table there too")
    options = parser.parse_args()
    lines = ["| requests | streams | MB of the serving process |", "| --: | --: | --: |"]
    sizes = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        provider = stack.enter_context(upstream())
        store = f"redis://127.0.0.1:{stack.enter_context(redis_server(folder))}/0"
        policies = everything_policies(redaction=False)
        patient = {"GATEWAY_STORE__CALL_SECONDS": "5"}  # memory is watched: a busy machine's silence is no outage
        way = gateway("soak", folder / "soak", provider.port, policies, store=store, environment=patient)
        system = stack.enter_context(way)
        requests = streams = 0
        for _ in range(PARTS):
            requests += part(system, Load(size=1000), options.requests // PARTS)
            streams += part(system, Load(clients=16, chunks=20), options.streams // PARTS)
            time.sleep(1)  # settlements and records are on their way
            sizes.append(max(system.memory().values()))
            lines.append(f"| {requests:,} | {streams:,} | {sizes[-1]:.1f} |")
            print(lines[-1], flush=True)
    growth = sizes[-1] - sizes[1]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    lines += [
        "",
        f"Growth after the second part: {growth:.1f} MB. {datetime.now(UTC):%Y-%m-%d}, commit {commit.strip()}.",
    ]
    print("\n".join(lines))  # the result
    if options.out is not None:
        options.out.write_text("# Memory under load\n\n`python -m bench.soak`\n\n" + "\n".join(lines) + "\n", "utf-8")
    if growth > options.most:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
