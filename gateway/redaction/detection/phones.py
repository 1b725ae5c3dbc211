"""Which clusters of digits can be a phone number of which region. phonenumbers itself is slow at saying no."""

from __future__ import annotations

import re
from collections.abc import Sequence

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    PhoneMetadata,
    PhoneNumberDesc,
    country_code_for_region,
)

_GROUPS = re.compile(r"\d+")
FEWEST = 4  # digits of the shortest valid number of any region
LONGEST_NUMBER = 20  # digits: country code and number; phonenumbers looks at no more in one block
LONGEST_DIALLED = 32  # digits, with an international prefix


class Regions:
    """A test of digits for each region, made of phonenumbers' own expressions."""

    def __init__(self, regions: Sequence[str]) -> None:
        self.regions = tuple(regions)
        self._tests = {region: _test(region) for region in self.regions}

    def fitting(self, text: str, start: int, end: int) -> tuple[str, ...]:
        """The regions in which digits of the cluster [start, end), group by group, may be a number. A number with a +
        is the same in all of them, so one region is enough for it."""
        groups = [_plain(one) for one in _GROUPS.findall(text, start, end)]
        if any(len(one) > LONGEST_NUMBER for one in groups):
            return self.regions
        runs = {one for one in _runs(groups) if len(one) >= FEWEST}
        fit = [region for region, test in self._tests.items() if any(test.fullmatch(run) is not None for run in runs)]
        if "+" in text[max(0, start - 14) : end] or "\uff0b" in text[max(0, start - 14) : end]:
            if sum(map(len, groups)) > LONGEST_NUMBER:
                return self.regions
            return tuple(dict.fromkeys((*self.regions[:1], *fit)))
        return tuple(fit)


def _plain(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(int(one)) for one in digits)


def _runs(groups: Sequence[str]) -> list[str]:
    """Neighbouring groups joined: every number is one of these."""
    runs = []
    for first in range(len(groups)):
        run = ""
        for group in groups[first:]:
            run += group
            if len(run) > LONGEST_DIALLED:
                break
            runs.append(run)
    return runs


def _test(region: str) -> re.Pattern[str]:
    """Digits that phonenumbers may take for a number when it dials from this region."""
    facts = PhoneMetadata.metadata_for_region(region)
    if facts is None or facts.general_desc is None:
        return re.compile(r"\d{4,}")
    code, trunk = country_code_for_region(region), facts.national_prefix_for_parsing
    general = _valid(facts) if len(COUNTRY_CODE_TO_REGION_CODE.get(code, ())) == 1 else _pattern(facts.general_desc)
    if facts.national_prefix_transform_rule and region != "BR":  # digits are put in that were not dialled
        general = r"\d{4,}"
    dialled = f"(?:{trunk})?" if trunk else ""
    ways = [rf"{dialled}(?:{code})?{dialled}(?:{general})"]
    if trunk and r"\d" in trunk:  # Brazil's, with a carrier and the number in it
        ways.append(trunk)
    if facts.international_prefix:
        ways.append(rf"(?:{facts.international_prefix})\d{{4,}}")
    return re.compile("|".join(f"(?:{one})" for one in ways))


def _valid(facts: PhoneMetadata) -> str:
    """Numbers of any kind: what is of no kind is not valid. Only where no other region has the country code."""
    kinds = (
        facts.fixed_line, facts.mobile, facts.toll_free, facts.premium_rate, facts.shared_cost, facts.voip,
        facts.personal_number, facts.pager, facts.uan, facts.voicemail,
    )  # fmt: skip
    return "|".join(f"(?:{_pattern(one)})" for one in kinds if one is not None and _pattern(one))


def _pattern(kind: PhoneNumberDesc) -> str:
    return str(kind.national_number_pattern or "")
