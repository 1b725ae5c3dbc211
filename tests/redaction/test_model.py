"""Names by a language model: opt-in, by Presidio's own configuration, from this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
import yaml

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.detection.profile import ProfileAnalyzer
from gateway.redaction.spans import Unusable


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows two names by heart, made here."""
    language = spacy.blank("en")
    ruler = language.add_pipe("entity_ruler")
    ruler.add_patterns(  # type: ignore[attr-defined]  # an EntityRuler
        [{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "London"}]
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    language.to_disk(folder)
    return folder


def configuration(folder: Path, model_name: str, **more: object) -> str:
    file = folder / "presidio.yaml"
    said = {
        "nlp_configuration": {
            "nlp_engine_name": "spacy",
            "models": [{"lang_code": "en", "model_name": model_name}],
            "ner_model_configuration": {"model_to_presidio_entity_mapping": {"PERSON": "PERSON", "GPE": "LOCATION"}},
        },
        **more,
    }
    file.write_text(yaml.safe_dump(said))
    return str(file)


def found(profile: RedactionProfile, text: str) -> list[tuple[str, str]]:
    return [(one.entity, text[one.start : one.end]) for one in ProfileAnalyzer(profile).analyze(text)]


def test_a_model_finds_names_beside_the_patterns(tmp_path: Path, model: Path) -> None:
    profile = RedactionProfile(
        "p", ("EMAIL_ADDRESS", "PERSON", "LOCATION"), presidio=(configuration(tmp_path, str(model)),)
    )
    text = "Ada Lovelace, London, ada@example.com, ＋４９ 30 1234567"
    assert found(profile, text) == [
        ("PERSON", "Ada Lovelace"), ("LOCATION", "London"), ("EMAIL_ADDRESS", "ada@example.com"),
    ]  # fmt: skip


def test_only_what_the_profile_asks_for_is_found(tmp_path: Path, model: Path) -> None:
    profile = RedactionProfile("p", ("PERSON",), presidio=(configuration(tmp_path, str(model)),))
    assert found(profile, "Ada Lovelace, London") == [("PERSON", "Ada Lovelace")]


def test_presidios_own_list_of_recognizers_is_taken(tmp_path: Path, model: Path) -> None:
    registry = {
        "supported_languages": ["en"],
        "recognizers": [
            {"name": "SpacyRecognizer", "type": "predefined"},
            {"name": "Badge", "type": "custom", "supported_entity": "BADGE",
             "patterns": [{"name": "badge", "regex": "B-[0-9]{4}", "score": 0.9}]},
        ],
    }  # fmt: skip
    file = configuration(tmp_path, str(model), recognizer_registry=registry)
    profile = RedactionProfile("p", ("PERSON", "BADGE"), presidio=(file,))
    assert found(profile, "B-1234 is Ada Lovelace's") == [("BADGE", "B-1234"), ("PERSON", "Ada Lovelace")]


@pytest.mark.parametrize(
    ("name", "says"),
    [("en_core_web_lg", "the model 'en_core_web_lg' is not on this machine"), ("/nowhere", "nothing is downloaded")],
)
def test_a_model_that_is_not_there_is_named(tmp_path: Path, name: str, says: str) -> None:
    file = configuration(tmp_path, name)
    with pytest.raises(Unusable, match=says) as raised:
        ProfileAnalyzer(RedactionProfile("p", ("PERSON",), presidio=(file,)))
    assert str(raised.value).startswith(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "No such file"), ("- 1", "is not a table"), ("a: [", "is not YAML"), ("a: 1", "no table nlp_configuration"),
     ("nlp_configuration: {nlp_engine_name: spacey, models: []}", "Presidio cannot make this engine")],
)  # fmt: skip
def test_a_configuration_that_is_wrong_says_what(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "p.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Unusable, match=says):
        ProfileAnalyzer(RedactionProfile("p", ("PERSON",), presidio=(str(file),)))


def test_what_the_model_does_not_find_is_named(tmp_path: Path, model: Path) -> None:
    profile = RedactionProfile("p", ("PERSON", "SHOE_SIZE"), presidio=(configuration(tmp_path, str(model)),))
    with pytest.raises(Unusable, match="no recognizer finds SHOE_SIZE"):
        ProfileAnalyzer(profile)
