"""How `gateway serve` begins: its settings are checked and its policies compiled by a process that ends, while the one
that is to serve imports what it serves with. So what serves never holds what they are checked with (record 0173)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.opening import refuse
from gateway.policy.apart import Apart
from gateway.settings.crossing import unpacked
from gateway.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Start:
    """Read the settings of `config` (None: the defaults) and of the environment; then, unless a supervisor is to start
    on them, the policies. `worker`: the process that asks has a supervisor."""

    config: Path | None
    worker: bool

    @property
    def directory(self) -> Path:
        """What a mistake is said at until the policies' folder is known."""
        return self.config or Path("settings")


class Beginning:
    """The process has begun. `settings` first, then `policies.finish`; `policies.give_up` in any case."""

    def __init__(self, config: Path | None, *, worker: bool) -> None:
        self.policies = Apart(Start(config, worker), "gateway.cli.checking")

    def settings(self) -> Settings:
        """Wait for them. Ends with exit code 1 where there is a mistake, which it says."""
        frame = self.policies.frame()
        if not frame:
            refuse(self.policies.finish().mistakes)
        checked = unpacked(frame, os.environ)
        if checked.settings is None:
            refuse(checked.mistakes)
        if (folder := checked.settings.policies.path) is not None:
            self.policies.directory = folder
        return checked.settings
