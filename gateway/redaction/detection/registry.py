"""A profile's recognizers: ours where Presidio's have holes, Presidio's for the rest, the admin's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer, predefined_recognizers

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.detection.own import (
    REGIONS,
    AddressRecognizer,
    CardRecognizer,
    DialledRecognizer,
    HealthNumberRecognizer,
    MailRecognizer,
    SecretRecognizer,
)

_Make = Callable[[RedactionProfile], EntityRecognizer]
# Entity → who finds it. Those of Presidio's own keep their class's name.
OURS: Mapping[str, _Make] = MappingProxyType(
    {
        "EMAIL_ADDRESS": lambda _: MailRecognizer(),
        "CREDIT_CARD": lambda _: CardRecognizer(),
        "PHONE_NUMBER": lambda profile: DialledRecognizer(supported_regions=profile.countries or REGIONS),
        "IP_ADDRESS": lambda _: AddressRecognizer(),
        "UK_NHS": lambda _: HealthNumberRecognizer(),
        "SECRET": lambda _: SecretRecognizer(),
    }
)
PRESIDIOS: Mapping[str, str] = MappingProxyType(
    {
        "CRYPTO": "CryptoRecognizer",
        "DATE_TIME": "DateRecognizer",
        "IBAN_CODE": "IbanRecognizer",
        "MAC_ADDRESS": "MacAddressRecognizer",
        "MEDICAL_LICENSE": "MedicalLicenseRecognizer",
        "UK_NINO": "UkNinoRecognizer",
        "URL": "UrlRecognizer",
        "US_BANK_NUMBER": "UsBankRecognizer",
        "US_DRIVER_LICENSE": "UsLicenseRecognizer",
        "US_ITIN": "UsItinRecognizer",
        "US_PASSPORT": "UsPassportRecognizer",
        "US_SSN": "UsSsnRecognizer",
        "UUID": "UuidRecognizer",
    }
)


def recognizers(profile: RedactionProfile) -> list[EntityRecognizer]:
    """The recognizers of a profile that need no model."""
    found: list[EntityRecognizer] = []
    for entity in dict.fromkeys(profile.entities):
        if entity in OURS:
            found.append(OURS[entity](profile))
        elif entity in PRESIDIOS:
            found.append(getattr(predefined_recognizers, PRESIDIOS[entity])())
    for number, (entity, regex, score) in enumerate(profile.patterns):
        found.append(
            PatternRecognizer(
                supported_entity=entity, patterns=[Pattern("custom", regex, score)], name=f"pattern {number}"
            )
        )
    for entity in sorted({entity for entity, _ in profile.deny}):
        words = [word for name, word in profile.deny if name == entity]
        found.append(PatternRecognizer(supported_entity=entity, deny_list=words, name=f"deny list {entity}"))
    return found
