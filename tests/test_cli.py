"""The front door: exit codes, one line for a mistake, no traceback, and no secret in any output."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from cdc_sync import __version__, cli
from cdc_sync.commands.dlq import age, hex_dump, indented
from cdc_sync.commands.door import printable
from cdc_sync.commands.letters import since_ms
from cdc_sync.errors import CdcSyncError, ConfigError, DecodeError, MappingError
from cdc_sync.model import Partition, Record
from tests.kafka_mock import MockKafka, mock_kafka

SECRET = "s3cr3t-and-long"
DLQ = "nx.seller.cdc.dlq"
NOW_S = 1_767_323_045.0

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    yield from mock_kafka()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command in an empty folder with no settings but these; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.upper().startswith("CDC_SYNC_")]:
        monkeypatch.delenv(name)
    handlers = list(logging.getLogger().handlers)

    def command(*arguments: str, **variables: str) -> tuple[int, str, str]:
        for name, value in variables.items():
            monkeypatch.setenv(f"CDC_SYNC_{name}", value)
        capfd.readouterr()
        code = cli.main(arguments)
        return (code, *capfd.readouterr())

    yield command
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


def is_one_line(text: str) -> bool:
    return text.startswith("cdc-sync") and text.count("\n") == 1 and "Traceback" not in text


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("run", "--fast"),
        ("dlq",),
        ("dlq", "read"),
        ("dlq", "list", "--since", "yesterday"),
        ("dlq", "list", "--limit", "0"),
        ("dlq", "show"),
        ("dlq", "show", "0/1", "--raw", "--json"),
        ("doctor", "--timeout", "soon"),
        ("config", "extra"),
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, out, is_one_line(err)) == (2, "", True), err
    assert "--help" in err


@pytest.mark.parametrize(
    "arguments", [(), ("run",), ("doctor",), ("dlq",), ("dlq", "list"), ("dlq", "show"), ("config",)]
)
def test_every_command_explains_itself(arguments: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*arguments, "--help")
    assert (code, err) == (0, "")
    assert "usage: cdc-sync" in out
    if arguments in (("doctor",), ("dlq", "list"), ("dlq", "show"), ("config",)):
        assert "examples:\n  cdc-sync" in out


def test_help_imports_nothing_heavy() -> None:
    """A quick `--help`: pydantic, librdkafka and the Typesense client are for those who do something."""
    heavy = ("pydantic", "confluent_kafka", "typesense", "prometheus_client", "structlog")
    code = (
        f"import sys, cdc_sync.cli as c; c.main(['--help']); sys.exit(any(m in sys.modules for m in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_version_is_printed(run: Run) -> None:
    assert (0, f"cdc-sync {__version__}\n", "") == run("--version")


# Mistakes in the settings


@pytest.mark.parametrize("command", ["run", "doctor", "config", "dlq list", "dlq show 0/1"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KAFKA__BOOTSTRAP", SECRET, "CDC_SYNC_KAFKA__BOOTSTRAP: there is no such setting"),
        ("HTTP__PORT", SECRET, "CDC_SYNC_HTTP__PORT: "),
        ("CONFIG_FILE", "nowhere.toml", "CDC_SYNC_CONFIG_FILE: no such file"),
    ],
)
def test_a_wrong_setting_is_one_line_and_2(command: str, name: str, value: str, said: str, run: Run) -> None:
    code, out, err = run(*command.split(), **{name: value})
    assert (code, out, is_one_line(err)) == (2, "", True), err
    assert said in err
    assert SECRET not in err


@pytest.mark.filterwarnings("ignore:SyncAnalyticsV1")  # the Typesense client's, of a part that nobody uses
@pytest.mark.parametrize("command", ["run", "doctor", "dlq list"])
def test_a_property_that_librdkafka_does_not_know_is_one_line_and_2(command: str, run: Run) -> None:
    extra = json.dumps({"no.such": "1", "sasl.password": SECRET})
    code, _, err = run(*command.split(), KAFKA__EXTRA=extra, TYPESENSE__API_KEY=SECRET, HTTP__PORT="0")
    assert (code, is_one_line(err)) == (2, True), err
    assert "CDC_SYNC_KAFKA__EXTRA" in err
    assert "no.such" in err
    assert SECRET not in err


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAPPERS", "nowhere"), ("MAPPERS", "nowhere:X"), ("TYPESENSE__CA_FILE", "nowhere.pem")],
)
def test_the_daemon_does_not_start_with_what_it_cannot_load(name: str, value: str, run: Run) -> None:
    code, _, err = run("run", **{name: value, "TYPESENSE__API_KEY": SECRET, "HTTP__PORT": "0"})
    assert (code, is_one_line(err)) == (2, True), err
    assert f"CDC_SYNC_{name}" in err


def test_the_daemon_does_not_start_without_a_key(run: Run) -> None:
    code, _, err = run("run", HTTP__PORT="0")
    assert (code, is_one_line(err)) == (2, True), err
    assert "CDC_SYNC_TYPESENSE__API_KEY_FILE" in err


def test_a_mistake_has_no_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("CDC_SYNC_")}
    environment["CDC_SYNC_HTTP__PORT"] = SECRET
    ended = subprocess.run(
        [sys.executable, "-m", "cdc_sync", "config"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, is_one_line(ended.stderr)) == (2, "", True), ended.stderr


@pytest.mark.parametrize(
    ("raised", "code"),
    [(ConfigError("two\nlines"), 2), (CdcSyncError("two\nlines"), 1), (KeyboardInterrupt(), 1)],
)
def test_errors_become_exit_codes(
    raised: BaseException, code: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> int:
        raise raised

    monkeypatch.setattr("cdc_sync.commands.config.print_settings", fail)
    found, _, err = run("config")
    assert code == found
    assert err in ("", "cdc-sync: two lines\n")


# config


def test_config_prints_every_setting_its_value_and_where_it_is_from(run: Run) -> None:
    code, out, _ = run("config", "--json", KAFKA__GROUP_ID="mine", SYNC__MAX_RECORDS="1000")
    shown = {line["setting"]: line for line in map(json.loads, out.splitlines())}
    assert code == 0
    group_id = shown["CDC_SYNC_KAFKA__GROUP_ID"]
    assert (group_id["value"], group_id["source"]) == ("mine", "set")
    assert shown["CDC_SYNC_SYNC__MAX_RECORDS"]["source"] == "set", "set to the default is set"
    assert (
        shown["CDC_SYNC_HTTP__PORT"]["value"],
        shown["CDC_SYNC_HTTP__PORT"]["source"],
    ) == (9464, "default")


def test_config_can_print_only_what_is_set(run: Run) -> None:
    _, out, _ = run("config", "--changed", TYPESENSE__URL="http://a:1,http://b:2")
    assert out == "CDC_SYNC_TYPESENSE__URL  set      http://a:1,http://b:2\n"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_config_shows_no_secret(form: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    hidden = {
        "sasl.password": SECRET,
        "ssl.key.pem": SECRET,
        "ssl.key.password": SECRET,
        "sasl.oauthbearer.client.secret": SECRET,
        "sasl.oauthbearer.config": f"principal=x secret={SECRET}",
        "sasl.username": "visible-name",
    }
    code, out, err = run(
        "config",
        *form,
        TYPESENSE__API_KEY=SECRET,
        KAFKA__EXTRA=json.dumps(hidden),
        SCHEMA_REGISTRY__URL="http://registry:8081",
        SCHEMA_REGISTRY__USERNAME="visible-user",
        SCHEMA_REGISTRY__PASSWORD=SECRET,
    )
    assert code == 0
    assert SECRET not in out + err
    assert "********" in out
    assert "visible-name" in out
    assert "registry:8081" in out
    assert "visible-user" in out


def test_a_secret_in_a_file_is_hidden_too(run: Run) -> None:
    Path("cdc.yaml").write_text(f"typesense: {{api_key: {SECRET}}}\n")
    code, out, err = run("config", CONFIG_FILE="cdc.yaml")
    assert code == 0
    assert SECRET not in out + err


def test_the_doctor_shows_no_secret(run: Run) -> None:
    code, out, err = run(
        "doctor",
        "--timeout",
        "1",
        KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1",
        KAFKA__EXTRA=json.dumps({"sasl.password": SECRET, "ssl.key.password": SECRET}),
        TYPESENSE__API_KEY=SECRET,
        TYPESENSE__URL="http://127.0.0.1:1",
        LOG__LEVEL="debug",
    )
    assert code == 1
    assert SECRET not in out + err
    assert "Traceback" not in err


# doctor


def test_the_doctor_fails_where_there_is_an_error_and_prints_json(run: Run) -> None:
    code, out, _ = run(
        "doctor", "--json", "--timeout", "1", KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1", SYNC__SINK="null"
    )
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(f["level"], f["subject"]) for f in found] == [("error", "kafka"), ("ok", "typesense")]
    assert found[0].keys() == {"level", "subject", "text", "cure"}


def test_the_doctor_names_a_missing_key_and_goes_on(run: Run, kafka: MockKafka) -> None:
    code, out, _ = run("doctor", "--timeout", "1", KAFKA__BOOTSTRAP_SERVERS=kafka.address)
    assert code == 1
    assert "ok       kafka: 1 broker at" in out
    assert "error    typesense: CDC_SYNC_TYPESENSE__API_KEY is not set" in out
    assert out.endswith("1 error\n")


# dlq


@pytest.fixture
def letters(kafka: MockKafka, run: Run, request: pytest.FixtureRequest) -> Run:
    """`run` with a topic of three letters and one other record."""
    topic = f"dlq-{request.node.name.translate(str.maketrans('[]', '--'))}"
    product, device = Partition("nx.seller.public.Product", 2), Partition("nx.seller.public.Device", 0)
    written = [
        (Record(product, 5, b'{"id":"p1"}', b'{"n":99999999999999.9999,"t":"\xc3\xa9"}',
                lambda: (1, 1_700_000_000_000)),
         MappingError("Product p1: column stock: is null"), 1_000),
        (Record(product, 6, b'{"id":"p2"}', None), MappingError("Product p2: column stock: is null"), 2_000),
        (Record(device, 7, b"\x00\x01", b"\x1b[31mgarbage", read_headers=lambda: [("h", b"v"), ("n", None)]),
         DecodeError("the value is not JSON"), 3_000),
    ]  # fmt: skip
    for record, error, stored_at_ms in written:
        kafka.write_letter(topic, record, error, stored_at_ms=stored_at_ms)
    kafka.write(topic, b"foreign", timestamp_ms=4_000)

    def command(*arguments: str, **variables: str) -> tuple[int, str, str]:
        return run(*arguments, KAFKA__BOOTSTRAP_SERVERS=kafka.address, KAFKA__DLQ_TOPIC=topic, **variables)

    return command


def test_letters_are_listed_by_reason(letters: Run) -> None:
    code, out, err = letters("dlq", "list")
    assert code == 0
    assert out.startswith("2  Product  TRANSFORMATION  MappingError  ")
    assert "Product …: column stock: is null" in out
    assert "3 letters, 2 reasons" in out
    assert "that are no dead letters: 1\n" in err


def test_letters_are_listed_as_json(letters: Run) -> None:
    _, out, _ = letters("dlq", "list", "--json")
    first, second = map(json.loads, out.splitlines())
    assert (
        first["count"],
        first["topic"],
        first["error"],
    ) == (2, "nx.seller.public.Product", "MappingError")
    assert first["oldest"] == "1970-01-01T00:00:01.000+00:00"
    assert first["example"].endswith("/0/1")
    assert second["count"] == 1


@pytest.mark.parametrize(
    ("options", "offsets"),
    [
        ("", [5, 6, 7]),
        ("--table product", [5, 6]),
        ("--topic nx.seller.public.Device", [7]),
        ("--stage VALUE_CONVERTER", [7]),
        ("--error MappingError", [5, 6]),
        ("--since 1970-01-01T00:00:02", [6, 7]),
        ("--since 1h", []),
        ("--limit 3", [7, 6]),  # the newest three records, one of which is no letter
        ("--limit 3 --table Product", [6]),
    ],
)
def test_letters_are_chosen_and_listed_one_by_one(options: str, offsets: list[int], letters: Run) -> None:
    _, out, _ = letters("dlq", "list", "--each", "--json", *options.split())
    assert offsets == [json.loads(line)["offset"] for line in out.splitlines()]
    _, out, _ = letters("dlq", "list", "--each", *options.split())
    assert len(offsets) == len(out.splitlines())


def test_no_letters_are_said(letters: Run) -> None:
    code, out, _ = letters("dlq", "list", "--table", "Nothing")
    assert (code, "no dead letters in" in out and "that match" in out) == (0, True)


def test_a_letter_is_shown_for_people(letters: Run) -> None:
    code, out, err = letters("dlq", "show", "0/0")
    assert (code, err) == (0, "")
    assert "origin   nx.seller.public.Product/2/5\n" in out
    assert "reason   Product p1: column stock: is null\n" in out
    assert "changed  2023-11-14T22:13:20.000+00:00\n" in out
    assert '    "n": 99999999999999.9999,\n    "t": "é"\n' in out


def test_a_letter_that_is_not_json_is_dumped_and_cannot_steer_the_terminal(letters: Run) -> None:
    _, out, _ = letters("dlq", "show", "0/2")
    assert "\x1b" not in out
    assert "00000000  1b 5b 33 31 6d 67 61 72 62 61 67 65" in out
    assert "headers\n  h: v\n  n: null\n" in out


def test_a_letter_is_shown_as_json_with_its_digits(letters: Run) -> None:
    _, out, _ = letters("dlq", "show", "0/0", "--json")
    assert out.count("\n") == 1
    assert '"value": {"n":99999999999999.9999,"t":"é"}' in out
    assert (
        json.loads(out)["key"]["id"],
        json.loads(out)["offset"],
        json.loads(out)["stage"],
    ) == ("p1", 5, "TRANSFORMATION")
    _, out, _ = letters("dlq", "show", "0/1", "--json")
    assert json.loads(out)["value"] is None
    _, out, _ = letters("dlq", "show", "0/2", "--json")
    assert json.loads(out)["value_base64"] == "G1szMW1nYXJiYWdl"


def test_a_letters_value_can_be_had_as_it_is(letters: Run) -> None:
    assert letters("dlq", "show", "0/0", "--raw") == (0, '{"n":99999999999999.9999,"t":"é"}', "")
    code, out, err = letters("dlq", "show", "0/1", "--raw")
    assert (code, out, "tombstone" in err) == (0, "", True)


@pytest.mark.parametrize(
    ("position", "code", "said"),
    [
        ("0/99", 1, "the partition holds 0 to 3"),
        ("0/3", 1, "is not a dead letter"),
        ("77/0", 1, "has the partitions 0 to 3"),
        ("missing/0/0", 1, "the topic missing does not exist"),
        ("abc", 2, "TOPIC/PARTITION/OFFSET"),
    ],
)
def test_a_letter_that_is_not_there_is_one_line(position: str, code: int, said: str, letters: Run) -> None:
    found, out, err = letters("dlq", "show", position)
    assert (code, "", True) == (found, out, is_one_line(err)), err
    assert said in err


def test_a_missing_topic_and_an_absent_broker_are_one_line_and_1(run: Run, kafka: MockKafka) -> None:
    code, _, err = run("dlq", "list", KAFKA__BOOTSTRAP_SERVERS=kafka.address, KAFKA__DLQ_TOPIC="none")
    assert (code, is_one_line(err)) == (1, True), err


def test_reading_stops_quietly_when_nobody_reads_on(kafka: MockKafka, tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("CDC_SYNC_")}
    command = f"{sys.executable} -m cdc_sync config | head -c 1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert ended.stderr == b""


# Parts


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("45s", NOW_S - 45),
        ("2h", NOW_S - 7_200),
        ("7d", NOW_S - 604_800),
        ("2026-01-01", 1_767_225_600),
        ("2026-01-01T07:00:00+07:00", 1_767_225_600),
        ("2026-01-01T00:00:00Z", 1_767_225_600),
    ],
)
def test_since_is_an_age_or_a_time(text: str, expected_s: float) -> None:
    assert expected_s * 1000 == since_ms(text, NOW_S)


def test_ages_are_short() -> None:
    assert [age(s * 1000) for s in (-5, 59, 60, 3_600, 86_400 * 3 + 1)] == ["0s", "59s", "1m", "1h", "3d"]


def test_a_dump_ends_somewhere() -> None:
    assert "904 bytes more" in hex_dump(b"x" * 5_000)[-1]
    assert indented(None) == "  null"
    assert "(no bytes)" in indented(b"")


def test_what_could_steer_a_terminal_is_escaped() -> None:
    assert printable("a\x1b[31mé\n\u202e") == "a\\x1b[31mé\\n\\u202e"
