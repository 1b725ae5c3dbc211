"""The values of the labelled texts: personal data of each kind, and what looks like it and is none.

Every value is made up: Faker's, or our own under the same rules (checksums, assigned ranges). One `Values` with one
seed gives the same values on every machine with the same versions.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from types import MappingProxyType

import phonenumbers
from faker import Faker

REGIONS = ("US", "US", "US", "GB", "DE", "FR", "IN", "CA", "BR", "IL")
_NATIONAL = {"US": 10, "CA": 10, "GB": 10, "DE": 10, "FR": 9, "IN": 10, "BR": 11, "IL": 9}
_IBAN_LOCALES = ("de_DE", "en_GB", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "de_AT", "de_CH")
_CARDS = (
    ("4", 16), ("4", 16), ("51", 16), ("53", 16), ("55", 16), ("2221", 16), ("2300", 16), ("2720", 16),
    ("34", 15), ("37", 15), ("6011", 16), ("65", 16), ("3530", 16), ("36", 14), ("62", 16),
)  # fmt: skip
_ALNUM = string.ascii_letters + string.digits
_WIDE = str.maketrans({str(digit): chr(0xFF10 + digit) for digit in range(10)})
_INVISIBLE = ("\u200b", "\u200c", "\u2060", "\ufeff", "\u00ad")


class Values:
    """Makes values. `of(slot)` gives a text and its entity type; None: it is a hard negative."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._faker = {locale: Faker(locale) for locale in ("en_US", *_IBAN_LOCALES)}
        for number, fake in enumerate(self._faker.values()):
            fake.seed_instance(seed * 100 + number)

    def of(self, slot: str) -> tuple[str, str | None]:
        """A new value for a slot of a template."""
        if slot in ENTITIES:
            entity, make = ENTITIES[slot]
            return make(self), entity
        return NEGATIVES[slot.removeprefix("n.")](self), None

    # What chance is asked for

    def pick(self, *ways: str) -> str:
        """One of several."""
        return self._chance.choice(ways)

    def number(self, least: int, most: int) -> int:
        """A number, both ends included."""
        return self._chance.randint(least, most)

    def digits(self, count: int) -> str:
        """Digits, the first of them not 0."""
        return str(self.number(10 ** (count - 1), 10**count - 1))

    def chars(self, count: int, of: str = _ALNUM) -> str:
        """Characters of a set."""
        return "".join(self._chance.choices(of, k=count))

    # Persons

    def name(self) -> str:
        """A name of a person."""
        return self._faker["en_US"].name()

    def city(self) -> str:
        """A name of a place."""
        return self._faker["en_US"].city()

    # E-mail

    def _host(self) -> str:
        fake = self._faker["en_US"]
        return self.pick(
            fake.domain_name(),
            fake.free_email_domain(),
            f"{self.pick('mail', 'post', 'eu')}.{fake.domain_name()}",
            f"{fake.domain_word()}.{self.pick('de', 'co.uk', 'io', 'fr', 'dev', 'app', 'com.br', 'in')}",
        )

    def _local(self) -> str:
        fake = self._faker["en_US"]
        first, last = fake.first_name().lower(), fake.last_name().lower()
        return self.pick(
            f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}", f"{first}{self.number(1, 99)}",
            f"{first}.{last}+{self.pick('news', 'shop', 'x1')}", f"{first}-{last}",
        )  # fmt: skip

    def email(self) -> str:
        """An address on the internet."""
        return f"{self._local()}@{self._host()}"

    def mail_internal(self) -> str:
        """An address in a company's own network."""
        host = self.pick("corp.internal", "localhost", "intranet.local", "mail.lan", "build-7", "ad.example.corp")
        return f"{self._local()}@{host}"

    def email_spoken(self) -> str:
        """An address written as it is said."""
        local, host = self._local().replace("+", "."), self._faker["en_US"].domain_name()
        at, dot = self._chance.choice(((" at ", " dot "), (" [at] ", " [dot] "), ("(at)", "(dot)"), (" AT ", " DOT ")))
        return f"{local.replace('.', dot) if self.number(0, 1) else local}{at}{host.replace('.', dot)}"

    def email_obfuscated(self) -> str:
        """An address that was hidden, or that came through an encoding."""
        plain = self.email()
        at = plain.index("@")
        return self.pick(
            plain.replace("@", "%40"),
            plain.replace("@", "&#64;"),
            plain.replace("@", "\\u0040"),
            plain.replace("@", "\uff20"),
            plain[:at] + self.pick(*_INVISIBLE) + plain[at:],
            self.email_spoken(),
            self.email_spoken(),
        )

    # Phones

    def _phone(self) -> phonenumbers.PhoneNumber:
        while True:
            region = self._chance.choice(REGIONS)
            code = phonenumbers.country_code_for_region(region)
            parsed = phonenumbers.PhoneNumber(country_code=code, national_number=int(self.digits(_NATIONAL[region])))
            if phonenumbers.is_valid_number_for_region(parsed, region):
                return parsed

    def phone_plus(self) -> str:
        """A phone number that begins with + and its country."""
        kind = phonenumbers.PhoneNumberFormat
        return str(phonenumbers.format_number(self._phone(), self._chance.choice((kind.E164, kind.INTERNATIONAL))))

    def phone(self) -> str:
        """A phone number as it is written at home, or with its country. Something beside it says what it is."""
        if self.number(0, 2) == 0:
            return self.phone_plus()
        parsed = self._phone()
        national = str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
        if parsed.country_code == 1:
            digits = str(parsed.national_number)
            a, b, c = digits[:3], digits[3:6], digits[6:]
            return self.pick(national, f"{a}-{b}-{c}", f"{a}.{b}.{c}", f"{a} {b} {c}", f"1-{a}-{b}-{c}", digits)
        return national

    # Cards, accounts, numbers of persons

    def _card(self) -> str:
        prefix, length = self._chance.choice(_CARDS)
        body = prefix + "".join(self.chars(1, string.digits) for _ in range(length - 1 - len(prefix)))
        return body + str(next(digit for digit in range(10) if luhn(body + str(digit))))

    def card(self) -> str:
        """A card number with a right check digit."""
        number = self._card()
        groups = (4, 4, 4, 4) if len(number) == 16 else (4, 6, len(number) - 10)
        return self.pick(number, grouped(number, groups, " "), grouped(number, groups, "-"))

    def iban(self) -> str:
        """An IBAN with right check digits."""
        compact = self._faker[self._chance.choice(_IBAN_LOCALES)].iban()
        return self.pick(compact, grouped(compact, (4,) * 9, " "))

    def ssn(self) -> str:
        """A US social security number."""
        plain = self._faker["en_US"].ssn()
        return self.pick(plain, plain, plain, plain.replace("-", " "))

    def nhs(self) -> str:
        """A number of the UK's health service."""
        while True:
            body = self.digits(9)
            check = 11 - sum(int(digit) * (10 - at) for at, digit in enumerate(body)) % 11
            if check != 10:
                number = body + str(check % 11)
                return self.pick(grouped(number, (3, 3, 4), " "), number)

    # Machines

    def ip(self) -> str:
        """An IPv4 address."""
        return self.pick(self._faker["en_US"].ipv4_public(), self._faker["en_US"].ipv4_private())

    def ip6(self) -> str:
        """An IPv6 address."""
        return self.pick(
            self._faker["en_US"].ipv6(), f"fe80::{self.chars(4, '123456789abcdef')}", f"2001:db8::{self.number(1, 99)}"
        )

    def mac(self) -> str:
        """A hardware address."""
        return self._faker["en_US"].mac_address()

    # Secrets

    def secret(self) -> str:
        """A key or token of a kind that its maker documents."""
        return self.pick(
            f"sk-proj-{self.chars(48)}",
            f"sk-{self.chars(48)}",
            f"sk-ant-api03-{self.chars(80, _ALNUM + '_-')}AA",
            f"ghp_{self.chars(36)}",
            f"github_pat_{self.chars(22)}_{self.chars(59)}",
            f"glpat-{self.chars(20)}",
            f"AKIA{self.chars(16, string.ascii_uppercase + '234567')}",
            f"AIza{self.chars(35, _ALNUM + '_-')}",
            f"xoxb-{self.digits(12)}-{self.digits(12)}-{self.chars(24)}",
            f"{self.pick('sk', 'rk')}_live_{self.chars(24)}",
            f"npm_{self.chars(36)}",
            f"SG.{self.chars(22)}.{self.chars(43)}",
            f"eyJ{self.chars(33)}.eyJ{self.chars(60)}.{self.chars(43, _ALNUM + '_-')}",
        )

    def secret_pem(self) -> str:
        """A private key in PEM."""
        kind = self.pick("", "RSA ", "EC ", "OPENSSH ")
        body = "\n".join(self.chars(64, _ALNUM + "+/") for _ in range(self.number(3, 12)))
        return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"

    # Hidden numbers

    def hidden(self, plain: str) -> str:
        """The same digits as somebody writes them who wants to get past a filter."""
        bare = "".join(char for char in plain if char not in " -.()")
        sign = self._chance.choice(_INVISIBLE)
        middle = len(plain) // 2
        return self.pick(
            plain.translate(_WIDE),
            plain[:middle] + sign + plain[middle:],
            sign.join(plain),
            " ".join(bare),
            "_".join(bare),
            "\u00a0".join(bare[at : at + 4] for at in range(0, len(bare), 4)),
        )


def luhn(number: str) -> bool:
    """Whether the last digit of a card number is right."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def grouped(text: str, sizes: tuple[int, ...], between: str) -> str:
    """A text cut into groups."""
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return between.join(part for part in parts if part)


# slot → (entity type, how it is made)
ENTITIES: Mapping[str, tuple[str, Callable[[Values], str]]] = MappingProxyType(
    {
        "name": ("PERSON", Values.name),
        "city": ("LOCATION", Values.city),
        "email": ("EMAIL_ADDRESS", Values.email),
        "email_wide": ("EMAIL_ADDRESS", Values.email),
        "mail_internal": ("EMAIL_ADDRESS", Values.mail_internal),
        "phone": ("PHONE_NUMBER", Values.phone),
        "phone_plus": ("PHONE_NUMBER", Values.phone_plus),
        "card": ("CREDIT_CARD", Values.card),
        "iban": ("IBAN_CODE", Values.iban),
        "ssn": ("US_SSN", Values.ssn),
        "nhs": ("UK_NHS", Values.nhs),
        "ip": ("IP_ADDRESS", Values.ip),
        "ip6": ("IP_ADDRESS", Values.ip6),
        "mac": ("MAC_ADDRESS", Values.mac),
        "secret": ("SECRET", Values.secret),
        "secret_pem": ("SECRET", Values.secret_pem),
        "obf.email": ("EMAIL_ADDRESS", Values.email_obfuscated),
        "obf.card": ("CREDIT_CARD", lambda one: one.hidden(one.card())),
        "obf.phone": ("PHONE_NUMBER", lambda one: one.hidden(one.phone_plus())),
        "obf.ssn": ("US_SSN", lambda one: one.hidden(one.ssn())),
        "obf.iban": ("IBAN_CODE", lambda one: one.hidden(one.iban())),
    }
)


def _wrong_card(values: Values) -> str:
    number = values.card().replace(" ", "").replace("-", "")
    return number[:-1] + str((int(number[-1]) + 5) % 10)


def _hex(values: Values, count: int) -> str:
    return values.chars(count, "0123456789abcdef")


# Hard negatives: kind → how it is made
NEGATIVES: Mapping[str, Callable[[Values], str]] = MappingProxyType(
    {
        "order": lambda one: one.pick(one.digits(10), one.digits(8), f"{one.digits(3)}-{one.digits(7)}", _wrong_card(one)),
        "invoice": lambda one: f"{one.pick('INV', 'RE', 'F')}-{one.number(2019, 2026)}-{one.digits(5)}",
        "tracking": lambda one: one.pick(f"1Z{one.digits(3)}AA{one.digits(10)}", one.digits(12), f"RB{one.digits(9)}CN"),
        "serial": lambda one: f"SN{one.digits(4)}-{one.chars(4, string.ascii_uppercase)}-{one.digits(4)}",
        "epoch": lambda one: str(one.number(1_500_000_000, 1_790_000_000)),
        "epoch_ms": lambda one: str(one.number(1_500_000_000_000, 1_790_000_000_000)),
        "uuid": lambda one: "-".join(_hex(one, count) for count in (8, 4, 4, 4, 12)),
        "sha": lambda one: _hex(one, one.number(0, 1) * 28 + 12),
        "version": lambda one: f"{one.number(0, 20)}.{one.number(0, 40)}.{one.number(0, 99)}",
        "version4": lambda one: f"v{one.number(1, 20)}.{one.number(0, 40)}.{one.number(0, 300)}.{one.number(1000, 9999)}",
        "isbn": lambda one: f"978-{one.number(0, 3)}-{one.digits(3)}-{one.digits(5)}-{one.number(0, 9)}",
        "isbn10": lambda one: f"{one.number(0, 3)}-{one.digits(3)}-{one.digits(5)}-{one.pick('X', '3', '7')}",
        "date": lambda one: one.pick(
            f"{one.number(2019, 2026)}-{one.number(1, 12):02}-{one.number(1, 28):02}",
            f"{one.number(1, 28)}.{one.number(1, 12)}.{one.number(2019, 2026)}",
            f"{one.number(1, 12)}/{one.number(1, 28)}/{one.number(2019, 2026)}",
            f"{one.number(1, 28)} March {one.number(2019, 2026)}",
        ),
        "iso": lambda one: (
            f"{one.number(2023, 2026)}-{one.number(1, 12):02}-{one.number(1, 28):02}T{one.number(0, 23):02}:"
            f"{one.number(0, 59):02}:{one.number(0, 59):02}.{one.number(0, 999):03}Z"
        ),
        "clf": lambda one: (
            f"{one.number(1, 28):02}/Oct/{one.number(2023, 2026)}:{one.number(0, 23):02}:{one.number(0, 59):02}:"
            f"{one.number(0, 59):02} +0{one.number(0, 9)}00"
        ),
        "time": lambda one: f"{one.number(0, 23)}:{one.number(0, 59):02}",
        "timerange": lambda one: f"{one.number(7, 11)}:00-{one.number(12, 20)}:30",
        "price": lambda one: one.pick(f"${one.number(1, 9999)}.{one.number(10, 99)}", f"{one.number(1, 999)},{one.number(10, 99)} €"),
        "thousands": lambda one: f"{one.number(1, 999)},{one.number(100, 999)},{one.number(100, 999)}",
        "amount": lambda one: f"{one.number(1, 9999)}.{one.number(10, 99)}",
        "coords": lambda one: f"{one.number(10, 89)}.{one.digits(6)},{one.number(-89, 89)}.{one.digits(6)}",
        "size": lambda one: f"{one.number(1, 40)}{one.number(10, 99)}x{one.number(1, 40)}{one.number(10, 99)}",
        "pages": lambda one: f"{one.number(100, 499)}-{one.number(500, 999)}",
        "range": lambda one: str(one.number(2, 400)),
        "room": lambda one: f"{one.pick('A', 'B', 'C')}{one.number(1, 9)}.{one.number(100, 300)}",
        "ints": lambda one: ", ".join(str(one.number(0, 9999)) for _ in range(one.number(3, 9))),
        "id9": lambda one: one.pick(one.digits(9), one.digits(7), one.digits(5)),
        "hexdump": lambda one: one.pick(f"0x{_hex(one, 8)}", " ".join(_hex(one, 2) for _ in range(8)), f"#{_hex(one, 6)}"),
        "decorator": lambda one: one.pick("@property", "@app.get", "@pytest.mark.long", "@media", "@Override", "@param"),
        "package": lambda one: one.pick("lodash@4", "@types/node@18", "requests==2.32.3", "left-pad@^1", "@babel/core"),
        "scope": lambda one: one.pick("std::vector", "fs::read", "Foo::bar", "io::stdin", "crate::net::tcp", "Base::run"),
        "host": lambda one: one.pick("example.com", "api.example.org", "shop.example.net"),
    }
)  # fmt: skip
