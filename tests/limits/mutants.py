"""Mutants: change the counting one line at a time, and see that the tests of both stores notice.

`python tests/limits/mutants.py` prints a line per mutant and exits 1 where one survives, or where the unchanged control
does not. A mutant is a file, a text that stands in it once, and what takes its place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    file: str  # below gateway/limits
    text: str
    becomes: str

    @property
    def store(self) -> str:
        """Whose tests must notice."""
        return "redis" if self.file.endswith(".lua") else "memory"


MUTANTS = (
    Mutant("a replayed admission counts again", "admit.lua", "redis.call('HEXISTS', KEYS[2], request) == 1", "false"),
    Mutant("a refusal writes", "admit.lua", "if worst then\n", "if worst then redis.call('SET', KEYS[3], 'done')\n"),
    Mutant("given up, and admitted all the same", "admit.lua", "redis.call('EXISTS', KEYS[3]) == 1", "false"),
    Mutant("one request too many at once", "admit.lua", "elseif current + wanted > amount then",
           "elseif current + wanted > amount + (kind == 'o' and 1 or 0) then"),
    Mutant("reservations are not counted", "admit.lua",
           "return (state[kind .. unit .. 'u'] or 0) + reserved, reserved",
           "return (state[kind .. unit .. 'u'] or 0), reserved"),
    Mutant("an old period's use counts in the new one", "admit.lua", "if (state[kind] or -1) < limit[6] then",
           "if false then"),
    Mutant("a rate is not waited for", "admit.lua", "elseif over > 0 then", "elseif over > 60000000 then"),
    Mutant("a shadow limit refuses", "admit.lua", "if limit[5] then\n", "if false then\n"),
    Mutant("idle time earns credit", "state.lua", "return math.max(0, (state['l' .. unit] or 0) - elapsed *",
           "return ((state['l' .. unit] or 0) - elapsed *"),
    Mutant("a refund erases younger claims", "state.lua", "math.max(level - back * TICK, math.min(level, younger))",
           "math.max(0, level - back * TICK)"),
    Mutant("rollover goes back", "state.lua", "if current and label <= current then", "if current == label then"),
    Mutant("an elapsed period is not kept", "state.lua", "if used ~= 0 and current then", "if false then"),
    Mutant("reservations outlive their period", "state.lua", "put(state, changes, window .. unit .. 'r', 0)", ""),
    Mutant("a late charge goes to the new period", "state.lua", "if state[window] == label then", "if true then"),
    Mutant("14 digits", "state.lua", "return string.format('%.0f', number)", "return string.format('%.14g', number)"),
    Mutant("a settlement is not remembered", "settle.lua", "redis.call('HDEL', KEYS[2], request)", ""),
    Mutant("an expired lease costs nothing", "charge.lua", "local amount = expired and reserved or actual[unit]",
           "local amount = expired and 0 or actual[unit]"),
    Mutant("no tombstone", "settle.lua", "redis.call('SET', KEYS[3], packed, 'EX', ARGV[8])", ""),
    Mutant("a late settlement corrects twice", "settle.lua", "redis.call('SET', KEYS[3], 'done', 'KEEPTTL')", ""),
    Mutant("a renewed lease expires", "renew.lua", "redis.call('ZADD', KEYS[1], 'XX', 'GT', unpack(due))", ""),
    Mutant("a renewal opens what has ended", "renew.lua", "'XX', ", ""),
    Mutant("a renewal shortens", "renew.lua", "'GT', ", ""),
    Mutant("settled as another life's, and settled again", "settle.lua",
           "elseif elsewhere then", "elseif false then"),
    Mutant("a lease stays open", "charge.lua",
           "put(state, changes, 'f', math.max(0, (state.f or 0) - 1))", ""),
    Mutant("fewer than none are open", "charge.lua", "math.max(0, (state.f or 0) - 1)", "(state.f or 0) - 1"),
    Mutant("what was forgotten stays for ever", "charge.lua", "known(key, KEEP)", "known(key)"),
    Mutant("a store that came back empty keeps for ever", "settle.lua", "known(key, scope[1])", "known(key)"),
    Mutant("a batch leaves its leases before its index", "settle_all.lua",
           "  redis.call('ZREM', KEYS[1], unpack(gone))\n  redis.call('HDEL', KEYS[2], unpack(gone))",
           "  redis.call('HDEL', KEYS[2], unpack(gone))\n  redis.call('ZREM', KEYS[1], unpack(gone))"),
    Mutant("a lease leaves before its index", "settle.lua",
           "  redis.call('ZREM', KEYS[1], request)\n  redis.call('HDEL', KEYS[2], request)",
           "  redis.call('HDEL', KEYS[2], request)\n  redis.call('ZREM', KEYS[1], request)"),
    Mutant("a lease that nobody can read is gone", "settle.lua", "  local elsewhere =",
           "  redis.call('HDEL', KEYS[2], request)\n  local elsewhere ="),
    Mutant("a batch is not remembered", "settle_all.lua", "redis.call('HDEL', KEYS[2], unpack(gone))", ""),
    Mutant("a batch stays in the index", "settle_all.lua", "redis.call('ZREM', KEYS[1], unpack(gone))", ""),
    Mutant("the same lease twice in a batch", "settle_all.lua", "and not seen[one[1]]", ""),
    Mutant("a batch of another life", "settle_all.lua", "if redis.call('GET', KEYS[4]) ~= ARGV[2] then",
           "if false then"),
    Mutant("of a batch the last one counts", "charge.lua", "if not states[key] then", "if true then"),
    Mutant("of a row the last one counts", "charge.lua", "fields[field] = fields[field] + amount",
           "fields[field] = amount"),
    Mutant("half a batch", "settle_all.lua", "if not sound then", "if false then"),
    Mutant("a counter that is none is found out too late", "charge.lua",
           "assert(string.match(there, '^-?%d+$'), 'nothing to add to')", ""),
    Mutant("a counter that is full is found out too late", "charge.lua",
           "assert(math.abs(tonumber(there)) < LARGEST * 64, 'hardly anything can be added')", ""),
    Mutant("sums beyond what is exact", "charge.lua",
           "assert(math.abs(fields[field]) <= LARGEST, 'more than can be counted exactly')", ""),
    Mutant("a batch tells no shares", "settle_all.lua", "if said.alone or #said > 1 then", "if said.alone then"),
    Mutant("what must come alone does not", "settle_all.lua", "said.alone = true", ""),
    Mutant("rows are not kept", "charge.lua", "redis.call('EXPIRE', key, KEEP)", ""),
    Mutant("a batch refunds by the wrong amounts", "settle_all.lua", "t = one[2], u = one[3]",
           "t = one[3], u = one[2]"),
    Mutant("a slice beyond the line", "grow.lua", "if used + reserved + asked[unit] - held > amount then",
           "if used + reserved + asked[unit] - held > amount + 1 then"),
    Mutant("a slice is not held", "grow.lua", "limit[6] = asked[unit]", ""),
    Mutant("a slice asked again is taken again", "grow.lua", "sliced and asked[unit] > held then\n        limit[6]",
           "sliced then\n        limit[6]"),
    Mutant("an exception outlives its time", "state.lua", "if (state['X' .. name] or 0) > now and",
           "if (state['X' .. name] or 0) >= now and"),
    Mutant("an exception lowers", "state.lua", "and state['x' .. name] > amount then", "then"),
    Mutant("a share is told again", "charge.lua", "put(state, changes, name, at)", ""),
    Mutant("a correction is another request", "charge.lua", "add_usage(scope, 0, tokens - scope[3], usd - scope[4])",
           "add_usage(scope, 1, tokens - scope[3], usd - scope[4])"),
    Mutant("a slice beyond the line", "slices.py", "if used + reserved + more > bound.amount:",
           "if used + reserved + more > bound.amount + 1:"),
    Mutant("an exception outlives its time", "exceptions.py", "if now < raised.until and",
           "if now <= raised.until and"),
    Mutant("a share is told again", "ledger.py", "calendar.told[limit.unit] = at", "pass"),
    Mutant("a replayed admission counts again", "ledger.py", "if claim.request_id in self.leases:", "if False:"),
    Mutant("reservations are not counted", "ledger.py",
           "return current.used.get(limit.unit, 0) + reserved, reserved",
           "return current.used.get(limit.unit, 0), reserved"),
    Mutant("rollover goes back", "ledger.py", "if label <= self.label:", "if label == self.label:"),
    Mutant("a late charge goes to the new period", "ledger.py", "if label == self.label:\n            self.used",
           "if True:\n            self.used"),
    Mutant("one request too many at once", "ledger.py", "if current + wanted <= limit.amount:",
           "if current + wanted <= limit.amount + (limit.window is Window.OPEN):"),
    Mutant("an expired lease costs nothing", "ledger.py", "self._replace(taken, taken.amount, taken.amount, now)",
           "self._replace(taken, 0, taken.amount, now)"),
    Mutant("no tombstone", "ledger.py", "self.tombs[request_id] = Held(held.taken, now + TOMBSTONE,",
           "self.tombs[request_id] = Held((), now + TOMBSTONE,"),
    Mutant("a refund erases younger claims", "gcra.py",
           "self.level = max(level - tokens * TICK, min(level, (self.gross - mark) * TICK))",
           "self.level = max(level - tokens * TICK, 0)"),
    Mutant("idle time earns credit", "gcra.py", "return max(0, self.level - max(0, now - self.at) *",
           "return (self.level - max(0, now - self.at) *"),
    Mutant("the burst is one larger", "gcra.py", "over = level + cost * TICK - burst * TICK",
           "over = level + cost * TICK - (burst + 1) * TICK"),
)  # fmt: skip


def noticed(mutant: Mutant | None, store: str) -> str:
    """The test of a store that fails with a mutant in place, or nothing; None is the unchanged control. A test that
    only took too long has noticed nothing, so no time limit is set."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for part in ("gateway", "tests/limits"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        for helper in (ROOT / "tests").glob("*.py"):
            shutil.copy(helper, tree / "tests" / helper.name)
        shutil.copy(ROOT / "pyproject.toml", tree / "pyproject.toml")
        if mutant is not None:
            path = tree / "gateway" / "limits" / mutant.file
            source = path.read_text()
            if source.count(mutant.text) != 1:
                raise ValueError(f"{mutant.file}: {mutant.text!r} stands there {source.count(mutant.text)} times")
            path.write_text(source.replace(mutant.text, mutant.becomes))
        # The tree under test must win over an installed gateway; -P keeps this folder out, PYTHONPATH puts it in.
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not long", "--timeout", "0",
             "tests/limits/test_stores.py", "tests/limits/test_changes.py", "tests/limits/test_books.py",
             "tests/limits/test_redis_settling.py", "-k", store],
            cwd=tree, capture_output=True, text=True, timeout=900, check=False,
            env={**os.environ, "PYTHONPATH": folder, "HYPOTHESIS_PROFILE": "mutants", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        found = re.search(r"^FAILED \S+::(\S+)", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1) or (done.returncode == 1 and found is None):
            raise RuntimeError(done.stdout + done.stderr)
        return found[1] if found is not None else ""


def main() -> int:
    """Run the controls and every mutant, as many at a time as there are processors; how many are wrong."""
    wrong = killed = 0
    trials: list[Mutant | str] = ["redis", "memory", *MUTANTS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(
            lambda one: noticed(None, one) if isinstance(one, str) else noticed(one, one.store), trials
        )  # fmt: skip
        for one, by in zip(trials, results, strict=True):
            if isinstance(one, str):
                wrong += bool(by)
                print(f"{'FAILS' if by else 'holds':9} control ({one}) {by}", flush=True)
            else:
                wrong += not by
                killed += bool(by)
                print(f"{'killed' if by else 'SURVIVES':9} {one.file}: {one.name} {by and f'({by})'}", flush=True)
    print(f"{killed} of {len(MUTANTS)} killed")
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main()))
