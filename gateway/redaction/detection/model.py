"""Names and places by a language model, through Presidio's own configuration. Opt-in; nothing is ever downloaded.

The file is one of Presidio's (its `nlp_configuration` and `recognizer_registry`): any engine that Presidio has, with
models that are on this machine. Of its recognizers those are taken that find what the profile asks for and no pattern
of ours does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import spacy
import yaml
from presidio_analyzer import EntityRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpEngine, NlpEngineProvider
from presidio_analyzer.recognizer_registry import RecognizerRegistryProvider

from gateway.redaction.detection.words import LANGUAGE
from gateway.redaction.spans import Unusable

_SPACY = frozenset({"spacy", "slim", "transformers"})  # engines whose model is a spaCy package or a folder of one
_NER = ({"name": "SpacyRecognizer", "type": "predefined"},)  # what reads the engine's entities, where none is named


class Model:
    """One configuration's engine and those of its recognizers that find `wanted`. Raises Unusable."""

    def __init__(self, file: str, wanted: frozenset[str]) -> None:
        said = _read(file)
        nlp = said.get("nlp_configuration")
        if not isinstance(nlp, dict):
            raise Unusable(f"{file}: there is no table nlp_configuration")
        self._engine = _engine(file, nlp)
        registry = said.get("recognizer_registry")
        self.recognizers = [
            one for one in _recognizers(file, registry, self._engine) if wanted & set(one.supported_entities)
        ]
        self.entities = frozenset(entity for one in self.recognizers for entity in one.supported_entities)

    def results(self, text: str) -> list[RecognizerResult]:
        """What its recognizers find."""
        artifacts = self._engine.process_text(text, LANGUAGE)
        found: list[RecognizerResult] = []
        for one in self.recognizers:
            found += one.analyze(text, list(one.supported_entities), artifacts)
        return found


def _read(file: str) -> Mapping[str, Any]:
    try:
        said = yaml.safe_load(Path(file).read_text("utf-8"))
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror or 'cannot be read'}") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise Unusable(f"{file}: is not YAML") from None
    if not isinstance(said, dict):
        raise Unusable(f"{file}: is not a table")
    return said


def _engine(file: str, nlp: dict[str, Any]) -> NlpEngine:
    models = nlp.get("models")
    for one in models if isinstance(models, list) else ():
        name = one.get("model_name") if isinstance(one, dict) else None
        if isinstance(name, dict):
            name = name.get("spacy")
        if nlp.get("nlp_engine_name") in _SPACY and not _is_here(name):
            raise Unusable(
                f"{file}: the model {name!r} is not on this machine; give the path of its folder, or install its "
                "package into the image (nothing is downloaded)"
            )
    try:
        engine = NlpEngineProvider(nlp_configuration=nlp).create_engine()
        engine.load()
    except Exception as error:
        raise Unusable(f"{file}: Presidio cannot make this engine: {type(error).__name__}: {error}") from error
    return engine


def _is_here(name: object) -> bool:
    return isinstance(name, str) and (Path(name).is_dir() or spacy.util.is_package(name))


def _recognizers(file: str, registry: object, engine: NlpEngine) -> Sequence[EntityRecognizer]:
    said = dict(registry) if isinstance(registry, dict) else {}
    said.setdefault("supported_languages", [LANGUAGE])
    said.setdefault("recognizers", list(_NER))
    try:
        made = RecognizerRegistryProvider(registry_configuration=said, nlp_engine=engine).create_recognizer_registry()
    except Exception as error:
        raise Unusable(f"{file}: Presidio cannot make these recognizers: {type(error).__name__}: {error}") from error
    return list(made.recognizers)
