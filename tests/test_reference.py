"""The generated reference is what the code says, names every setting and metric, and its examples work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdc_sync import reference
from cdc_sync.config import Settings, load_settings
from cdc_sync.mappers import MAPPERS
from cdc_sync.metrics import METRICS, Definition

PROJECT = Path(__file__).parents[1]


def test_the_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 0, capsys.readouterr().err


def test_check_fails_for_what_is_missing_changed_or_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference.main(["--check", "--folder", str(tmp_path)]) == 1
    assert reference.main(["--folder", str(tmp_path)]) == 0
    assert reference.main(["--check", "--folder", str(tmp_path)]) == 0
    (tmp_path / "docs/metrics.md").write_text("old")
    (tmp_path / "schemas/gone.json").write_text("{}")
    capsys.readouterr()
    assert reference.main(["--check", "--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "docs/metrics.md" in said
    assert "schemas/gone.json" in said
    assert reference.main(["--folder", str(tmp_path)]) == 0
    assert not (tmp_path / "schemas/gone.json").exists()


def leaves() -> list[tuple[str, str | None]]:
    """Variable and description of every setting, found without the reference's own walk."""
    found = []
    for section, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner is None:
            found.append((f"CDC_SYNC_{section.upper()}", field.description))
            continue
        found += [(f"CDC_SYNC_{section.upper()}__{n.upper()}", f.description) for n, f in inner.items()]
    return found


@pytest.mark.parametrize(("variable", "description"), leaves())
def test_every_setting_is_there_with_a_sentence(variable: str, description: str | None) -> None:
    text = reference.files()["docs/configuration.md"]
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{variable}` |")]
    assert description
    assert description.endswith(".")
    assert description.replace("|", "\\|") in row


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_there_with_its_labels(metric: Definition) -> None:
    text = reference.files()["docs/metrics.md"]
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `cdc_sync_{metric.name}` |")]
    assert metric.help in row
    assert all(f"`{label}`" in row for label in metric.labels)


def test_every_collection_has_its_schema_as_typesense_takes_it() -> None:
    names = {path.stem for path in (PROJECT / "schemas").glob("*.json")}
    assert {mapper.collection.name for mapper in MAPPERS} == names
    assert "product-infos" in names
    for mapper in MAPPERS:
        text = (PROJECT / "schemas" / f"{mapper.collection.name}.json").read_text("utf-8")
        assert mapper.collection.as_json() == json.loads(text)


@pytest.mark.parametrize("suffix", ["env", "yaml", "toml"])
def test_the_examples_all_say_the_same(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = {
        "env": reference.ENV_EXAMPLE,
        "yaml": reference.YAML_EXAMPLE,
        "toml": reference.TOML_EXAMPLE,
    }
    monkeypatch.chdir(tmp_path)
    if suffix == "env":
        Path(".env").write_text(examples[suffix])
    else:
        Path(f"cdc.{suffix}").write_text(examples[suffix])
        monkeypatch.setenv("CDC_SYNC_CONFIG_FILE", f"cdc.{suffix}")
    settings = load_settings()
    assert settings.kafka.bootstrap_servers == "kafka-1:9092,kafka-2:9092"
    assert settings.kafka.extra == {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
    assert tuple(f"https://search-{n}:8108" for n in (1, 2, 3)) == settings.typesense.url
    assert Path("/run/secrets/typesense-key") == settings.typesense.api_key_file
    assert (settings.sync.max_records, settings.log.format) == (2_000, "json")
    assert examples[suffix] in reference.files()["docs/configuration.md"]
