"""The settings: where they come from, what they refuse, and that they say everything at once and no password."""

import pickle
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serving.access.keys import create
from serving.errors import SettingsError
from serving.kinds import Address, PortRange
from serving.mistakes import known_keys
from serving.outgoing import Target
from serving.settings import Settings, TokenSettings, load_settings

EXAMPLE = Path(__file__).parents[2] / "docs" / "sluice.example.yaml"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file and no variable of the machine's takes part."""
    monkeypatch.chdir(tmp_path)
    for name in ("SLUICE_CONFIG", "SLUICE_URL", "SLUICE_TRITON_BINARY"):
        monkeypatch.delenv(name, raising=False)


def written(text: str, name: str = "sluice.yaml") -> Path:
    """A settings file in the current folder, with this text."""
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def mistakes(text: str, overrides: Mapping[str, object] | None = None) -> list[str]:
    """The lines that such a file is refused with."""
    with pytest.raises(SettingsError) as caught:
        load_settings(written(text), overrides or {})
    assert caught.value.hint
    assert caught.value.__suppress_context__
    assert len(caught.value.sentence.splitlines()) == 1 + len(caught.value.mistakes)
    return list(caught.value.mistakes)


def mistake(text: str) -> str:
    """The one line that such a file is refused with."""
    [line] = mistakes(text)
    return line


KEY = create().text


def model(versions: str, rest: str = "") -> str:
    """A file with one model, of these versions."""
    return f"models: [{{name: digits, versions: {versions}{rest}}}]"


def test_without_anything_everything_has_its_default(tmp_path: Path) -> None:
    """Without a file and without variables the defaults hold, and the state folder is below the current one."""
    settings = load_settings()
    assert settings.model_copy(update={"registry": Settings().registry}) == Settings(state_dir=tmp_path / ".sluice")
    assert settings.registry.artifacts == str(tmp_path / ".sluice" / "artifacts")
    assert settings.registry.sources == (str(tmp_path),)
    assert (settings.listen.http_port, settings.control.port, settings.models) == (8000, 8080, ())


def test_addresses_of_artifacts_begin_at_the_file(tmp_path: Path) -> None:
    """A path does, like every other path in the settings; what has a protocol stays what it is."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = folder / "sluice.yaml"
    file.write_text("registry: {artifacts: store, sources: [models, 's3://bucket/in', /srv/models]}")
    registry = load_settings(file).registry
    assert registry.artifacts == str(folder / "store")
    assert registry.sources == (str(folder / "models"), "s3://bucket/in", "/srv/models")


def test_file_is_found_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sluice.yaml` is read unasked; SLUICE_CONFIG names another, and the argument yet another, in rising order."""
    written("listen: {http_port: 1}")
    assert load_settings().listen.http_port == 1
    monkeypatch.setenv("SLUICE_CONFIG", str(written("listen: {http_port: 2}", "second.yaml")))
    assert load_settings().listen.http_port == 2
    assert load_settings(written("listen: {http_port: 3}", "third.yaml")).listen.http_port == 3


def test_environment_wins_over_the_file_and_the_command_line_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces its one key and leaves its neighbours; an override replaces both, and None is no override."""
    file = written("gateway: {workers: 2, max_in_flight: 5}\nlisten: {http_port: 1}")
    monkeypatch.setenv("SLUICE_GATEWAY__WORKERS", "3")
    monkeypatch.setenv("SLUICE_LISTEN__HTTP_PORT", "4")
    settings = load_settings(file, {"listen.http_port": 0, "control.port": None})
    assert (settings.gateway.workers, settings.gateway.max_in_flight) == (3, 5)
    assert (settings.listen.http_port, settings.control.port) == (0, 8080)


def test_models_can_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in a variable is written as in the file, in YAML or JSON."""
    monkeypatch.setenv("SLUICE_MODELS", "[{name: digits, versions: [{version: 1, endpoints: ['127.0.0.1:9000']}]}]")
    [digits] = load_settings().models
    assert digits.versions[0].endpoints == (Address("127.0.0.1", 9000),)


def test_relative_paths_begin_at_the_files_folder(tmp_path: Path) -> None:
    """The state folder, a version's folder and the Triton binary are relative to the file, or absolute as they are."""
    text = "state_dir: state\ntriton: {binary: bin/tritonserver}\n" + model("[{version: 1, path: m/1}]")
    text += "\ndrift: {webhooks: [{url: 'https://h', secret_file: keys/drift}]}\n"
    settings = load_settings(written(text, "conf/sluice.yaml"))
    assert settings.state_dir == tmp_path / "conf/state"
    assert settings.triton.binary == tmp_path / "conf/bin/tritonserver"
    assert settings.models[0].versions[0].path == tmp_path / "conf/m/1"
    assert settings.drift.webhooks[0].secret_file == str(tmp_path / "conf/keys/drift")
    assert load_settings(None, {"state_dir": "/var/sluice"}).state_dir == Path("/var/sluice")


def test_settings_do_not_change_and_can_be_sent_to_another_process() -> None:
    """They are frozen down to the last section, equal by value, and survive pickling."""
    settings = load_settings(written(model("[{version: 1, path: a}, {version: 2, path: b}]", ", traffic: {1: 100%}")))
    with pytest.raises(ValueError, match="frozen"):
        settings.gateway.workers = 2
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes


def test_all_mistakes_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong values, unknown keys, wrong variables and clashing ports are one line each, all in one error."""
    monkeypatch.setenv("SLUICE_GATEWAY__MAX_IN_FLIGHT", "many")
    monkeypatch.setenv("SLUICE_GATWAY__WORKERS", "2")
    text = "listen: {host: 0.0.0.0, http_port: 8080}\ngateway: {workers: 0, wrokers: 2}\nredis: 5\ntritn: {}"
    found = mistakes(text)
    assert [line.split(":")[0] for line in found] == [
        "gateway.workers",
        "gateway.max_in_flight",
        "gateway.wrokers",
        "redis",
        "tritn",
        "listen.host",
        "control.port",
        "SLUICE_GATWAY__WORKERS",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gateway: {workers: 0}", "gateway.workers: 0 is given, but it takes a whole number from 1 to 256"),
        ("gateway: {workers: true}", "gateway.workers: True is given, but it takes a whole number from 1 to 256"),
        ("gateway: {workers: 1.5}", "gateway.workers: 1.5 is given, but it takes a whole number from 1 to 256"),
        ("gateway: {workers: null}", "gateway.workers: None is given, but it takes a whole number from 1 to 256"),
        ("gateway: {drain_limit_s: .nan}", "gateway.drain_limit_s: nan is given, but it takes a number from 0 to 3600"),
        ("gateway: {wrokers: 1}", "gateway.wrokers: there is no such key; did you mean gateway.workers?"),
        ("http_port: 1", "http_port: there is no such key; did you mean listen.http_port?"),
        ("ray: {zzz: 1}", "ray.zzz: there is no such key; there are ray.address, ray.num_cpus"),
        (
            "1: x",
            (
                "1: there is no such key; there are state_dir, listen, control, metrics, tls, access, "
                "gateway, redis, ray, triton, registry, payloads, tracing, logs, feedback, drift, models"
            ),
        ),
        ("gateway: {1: x}", "gateway.1: there is no such key; there are gateway.workers"),
        ("gateway: 7", "gateway: 7 is given, but it takes a section of keys"),
        ("models: {name: x}", "models: {'name': 'x'} is given, but it takes a list"),
        ("models: [{versions: [{version: 1, path: x}]}]", "models[0].name: is missing, and has no default"),
        ("listen: {http_port: 65536}", "listen.http_port: 65536 is given, but it takes a whole number from 0 to 65535"),
        ("control: {host: example.com}", "control.host: 'example.com' is given, but other machines reach it"),
        ("control: {host: 'a b'}", "control.host: 'a b' is given, but it takes an address or a name to listen on"),
        ("control: {allowed_hosts: ['https://x']}", "control.allowed_hosts[0]: 'https://x' is given, but it takes nam"),
        ("triton: {host: 0.0.0.0}", "triton.host: '0.0.0.0' is given, but it takes a loopback address or a pod's own"),
        ("triton: {host: 8.8.8.8}", "triton.host: '8.8.8.8' is given, but it takes a loopback address or a pod's own"),
        ("metrics: {port: 8000}", "metrics.port: 8000 is given, but listen.http_port has it too"),
        ("tls: {certificate: a.pem}", "tls.key: None is given, but it goes with tls.certificate: give both or neither"),
        ("tls: {key: a.pem}", "tls.key: 'a.pem' is given, but it goes with tls.certificate: give both or neither"),
        ("tls: {min_version: 1.1}", "tls.min_version: 1.1 is given, but it takes 1.2 or 1.3"),
        ("redis: {ca_file: a.pem}", "redis.ca_file: 'a.pem' is given, but it goes with TLS: give redis.url as rediss"),
        (
            "redis: {url: 'rediss://h', cert_file: a}",
            "redis.key_file: None is given, but it goes with redis.cert_file",
        ),
        ("access: {required: 'yes'}", "access.required: 'yes' is given, but"),
        (
            "access: {tokens: {issuer: us, algorithms: [HS256], jwks_url: 'https://h'}}",
            "access.tokens.algorithms[0]: 'HS256' is given, but it takes algorithms with two keys only",
        ),
        ("access: {tokens: {issuer: us}}", "access.tokens.jwks_url: None is given, but the issuer's keys can be found"),
        (
            "access: {tokens: {issuer: 'https://h', jwks_url: 'http://h/keys'}}",
            "access.tokens.jwks_url: 'http://h/keys' is given, but it takes https://…",
        ),
        (
            "access: {tokens: {issuer: 'https://h', roles: {ops: root}}}",
            "access.tokens.roles.ops: 'root' is given, but it takes one of the roles predict, operate, administer",
        ),
        (
            "access: {tokens: {issuer: 'https://h', role_claim: 'a..b'}}",
            "access.tokens.role_claim: 'a..b' is given, but it takes a claim's name",
        ),
        ("state_dir: ''", "state_dir: '' is given, but it takes a path"),
        (
            "payloads: {share: 0.01}",
            "payloads.share: 0.01 is given, but '0.01' is no share: write '10%' or '100000ppm'",
        ),
        (
            "payloads: {max_bytes: 10}",
            "payloads.file_bytes: 67108864 is given, but a file may have at most payloads.max",
        ),
        ("payloads: {redact: ['']}", "payloads.redact[0]: '' is given, but it takes names of inputs or outputs"),
        (
            "drift: {samples: {share: 1}}",
            "drift.samples.share: 1 is given, but it takes a share of 0% to 100%, such as 10%",
        ),
        ("drift: {samples: {share: 0.00001%}}", "drift.samples.share: '0.00001%' is given, but it takes a share"),
        ("drift: {samples: {stream_bytes: 1}}", "drift.samples.stream_bytes: 1 is given, but it takes a whole number"),
        (
            "drift: {sidecar: {metrics_port: 8080}}",
            "drift.sidecar.metrics_port: 8080 is given, but control.port has it",
        ),
        (
            "drift: {webhooks: [{url: 'x://hooks/T0/secret', secret_file: a}]}",
            "drift.webhooks[0].url: a value (not shown: it may hold a password) is given, but it takes http",
        ),
        ("triton: {port_range: 9-1}", "triton.port_range: '9-1' is given, but it takes a range that rises"),
        ("triton: {port_range: x}", "triton.port_range: 'x' is given, but it takes a range of ports such as"),
        ("redis: {lease_s: 1}", "redis.poll_s: 1.0 is given, but a lease of 1 s needs at least two polls in it"),
        ("redis: {namespace: 'a b'}", "redis.namespace: 'a b' is given, but it takes up to 64 letters"),
        ("listen: {http_port: 8080}", "control.port: 8080 is given, but listen.http_port has it too"),
        ("listen: {http_port: 21005}", "listen.http_port: 21005 is given, but it lies in triton.port_range"),
    ],
)
def test_a_mistake_says_the_key_what_was_given_and_what_is_allowed(text: str, line: str) -> None:
    """Each kind of mistake is one line of our own words."""
    assert mistake(text).startswith(line)


@pytest.mark.parametrize(
    ("versions", "rest", "line"),
    [
        ("[]", "", "models[0].versions: [] is given, but it takes a list of at least one"),
        ("[{version: 0, path: x}]", "", "models[0].versions[0].version: 0 is given"),
        ("[{version: 1}]", "", "models[0].versions[0].endpoints: () is given, but a version has exactly one of path"),
        ("[{version: 1, path: x, endpoints: ['h:1']}]", "", "models[0].versions[0].endpoints: ['h:1'] is given, but a"),
        ("[{version: 1, endpoints: ['h']}]", "", "models[0].versions[0].endpoints[0]: 'h' is given, but it takes host"),
        ("[{version: 1, endpoints: ['h:0']}]", "", "models[0].versions[0].endpoints[0]: 'h:0' is given"),
        ("[{version: 1, endpoints: ['h:1'], replicas: 2}]", "", "models[0].versions[0].replicas: 2 is given, but it"),
        ("[{version: 1, path: x, num_gpus: 1}]", "", "models[0].versions[0].num_gpus: 1 is given, but it goes with"),
        (
            "[{version: 1, path: x, device: tpu}]",
            "",
            "models[0].versions[0].device: 'tpu' is given, but it takes 'cpu'",
        ),
        ("[{version: 1, path: x}, {version: 1, path: y}]", "", "models[0].versions: [{'version': 1"),
        (
            "[{version: 1, path: x}]",
            ", traffic: {1: 90%}",
            "models[0].traffic: {1: '90%'} is given, but the shares must",
        ),
        (
            "[{version: 1, path: x}]",
            ", traffic: {2: 100%}",
            "models[0].traffic: {2: '100%'} is given, but version 2 is",
        ),
        (
            "[{version: 1, path: x}]",
            ", traffic: {1: 1.0}",
            "models[0].traffic: {1: 1.0} is given, but '1.0' is no share",
        ),
        ("[{version: 1, path: x}]", ", traffic: 5", "models[0].traffic: 5 is given, but it takes a share for each"),
        ("[{version: 1, path: x}]", ", stable: 2", "models[0].stable: 2 is given, but it takes one of the versions"),
        ("[{version: 1, path: x}]", ", unit_header: 'A b'", "models[0].unit_header: 'A b' is given, but 'A b' is no"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(versions: str, rest: str, line: str) -> None:
    """Versions, sources, devices and first shares are checked at the door."""
    assert mistake(model(versions, rest)).startswith(line)


@pytest.mark.parametrize("name", [".hidden", "", "a/b", "a b", "-x"])
def test_a_models_name_is_one_that_triton_takes(name: str) -> None:
    """Names that would leave the folder or the path of a URL are refused."""
    text = yaml.safe_dump({"models": [{"name": name, "versions": [{"version": 1, "path": "x"}]}]})
    assert mistake(text).startswith(f"models[0].name: {name!r} is given")


def test_a_model_is_listed_once() -> None:
    """The same name twice is refused."""
    one = "{name: digits, versions: [{version: 1, path: x}]}"
    assert "digits is there twice" in mistake(f"models: [{one}, {one}]")


@pytest.mark.parametrize(
    ("rest", "stable", "shares"),
    [
        ("", 1, {1: 1_000_000}),
        (", stable: 2", 2, {2: 1_000_000}),
        (", traffic: {1: 12.5%, 2: 87.5%}", 2, {1: 125_000, 2: 875_000}),
        (", traffic: {2: 50%, 1: 500000ppm}", 1, {1: 500_000, 2: 500_000}),
        (", traffic: {1: 10%, 2: 90%}, stable: 1", 1, {1: 100_000, 2: 900_000}),
    ],
)
def test_stable_is_the_largest_share_unless_it_is_named(rest: str, stable: int, shares: dict[int, int]) -> None:
    """Without shares all goes to stable; of equal shares the lowest version is stable."""
    [digits] = load_settings(written(model("[{version: 1, path: x}, {version: 2, path: y}]", rest))).models
    assert digits.stable_version == stable
    assert dict(digits.shares) == shares


def test_gpus_go_with_the_device() -> None:
    """A version on the CPU takes no GPU; one on a GPU takes what it says, or one."""
    gpu = "{version: 2, path: x, device: gpu}, {version: 3, path: x, device: gpu, num_gpus: 0.5}"
    [digits] = load_settings(written(model(f"[{{version: 1, path: x}}, {gpu}]"))).models
    assert [one.gpus for one in digits.versions] == [0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 1, column 5"),
        ("a: 1\na: 2", "line 2, column 1: the key a is given twice"),
        ("- a", "no keys at its top level"),
        ("!!python/object:os.system {}", "line 1"),
        ("[" * 5000, "nested too deep"),
    ],
)
def test_a_file_that_is_no_yaml_is_one_sentence(text: str, words: str) -> None:
    """It names the file and the place."""
    with pytest.raises(SettingsError, match=r"sluice\.yaml") as caught:
        load_settings(written(text))
    assert words in caught.value.sentence


def test_a_file_of_bytes_is_one_sentence() -> None:
    """Bytes that are no text are refused like any other file that is no YAML."""
    Path("sluice.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(SettingsError, match="is no YAML"):
        load_settings()


def test_a_named_file_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the argument or the variable named it, and also when it is a folder."""
    with pytest.raises(SettingsError, match=r"there is no settings file nowhere\.yaml"):
        load_settings(Path("nowhere.yaml"))
    monkeypatch.setenv("SLUICE_CONFIG", ".")
    with pytest.raises(SettingsError, match="there is no settings file"):
        load_settings()


def test_an_empty_file_or_section_is_the_defaults() -> None:
    """People leave a section for later by writing its name only."""
    assert load_settings(written("")).gateway == load_settings(written("gateway:\n")).gateway


@pytest.mark.parametrize("url", [f"redis://:{SECRET}@host:6379/0", f"rediss://host?password={SECRET}"])
def test_a_password_is_never_shown(url: str) -> None:
    """Neither as text, nor in a dump, nor in the address, and yet it is there for the client that needs it."""
    settings = load_settings(None, {"redis.url": url})
    shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()]
    assert not [text for text in [*shown, settings.redis.address] if SECRET in str(text)]
    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == url


@pytest.mark.parametrize(
    "text",
    [
        f"redis: {{url: 'http://:{SECRET}@h'}}",
        f"redis: {{url: 'redis://:{SECRET}@h:99999'}}",
        f"redis: {{ulr: 'redis://:{SECRET}@h'}}",
        f"redis: 'redis://:{SECRET}@h'",
        f"state_dir: {{x: 'redis://:{SECRET}@h'}}",
        f"redis: {{url: 'redis://:{SECRET}@h'",
    ],
)
def test_a_password_is_not_shown_by_a_mistake_either(text: str) -> None:
    """Wherever it was misplaced."""
    with pytest.raises(SettingsError) as caught:
        load_settings(written(text))
    assert SECRET not in f"{caught.value} {caught.value.args}"


def test_the_example_is_what_it_says() -> None:
    """The commented example loads, and apart from its models, tokens and listeners to drift it holds the defaults."""
    example = load_settings(EXAMPLE)
    given_model = example.models[0]
    assert dict(given_model.shares) == {1: 900_000, 2: 100_000}
    sources = list(example.registry.sources)
    plain = load_settings(None, {"state_dir": example.state_dir, "registry.sources": sources})
    assert example.access.tokens is not None
    assert example.access.tokens.model_dump(exclude={"issuer"}) == TokenSettings(issuer="https://x").model_dump(
        exclude={"issuer"}
    )
    without_tokens = example.access.model_copy(update={"tokens": None})
    drift = example.drift.model_copy(update={"models": (), "encoders": (), "webhooks": ()})
    assert example.drift.of("digits") == plain.drift.of("digits")
    assert example.model_copy(update={"models": (), "access": without_tokens, "drift": drift}) == plain
    assert given_model.versions[0].model_dump(exclude={"version", "path"}) == {
        name: field.default
        for name, field in type(given_model.versions[0]).model_fields.items()
        if name not in {"version", "path"}
    }


def test_the_example_names_every_key() -> None:
    """No key is known to the program alone."""
    document = yaml.safe_load(EXAMPLE.read_text())
    assert set(known_keys(Settings)) == {key for key in _keys_in(document) if not key.startswith("models[].traffic.")}


def _keys_in(content: object, prefix: str = "") -> set[str]:
    if isinstance(content, list):
        return {key for member in content for key in _keys_in(member, f"{prefix.removesuffix('.')}[].")}
    if not isinstance(content, dict):
        return set()
    return {f"{prefix}{key}" for key in content} | {
        deeper for key, value in content.items() for deeper in _keys_in(value, f"{prefix}{key}.")
    }


@given(
    scheme=st.sampled_from(["", "https://"]),
    host=st.from_regex(r"[a-z0-9.-]{1,20}|\[[0-9a-f:]{2,20}\]", fullmatch=True),
    port=st.integers(1, 65_535),
)
def test_an_address_is_read_back_as_it_was_written(scheme: str, host: str, port: int) -> None:
    """Text to address and back, for names and for IPv6 in brackets, with TLS and without."""
    address = Address.parse(f"{scheme}{host}:{port}")
    assert (address.port, address.tls, Address.parse(str(address))) == (port, bool(scheme), address)


@pytest.mark.parametrize(
    "text",
    [
        "access: {admin_key: '%s'}",
        "access: {admin_key: '%s!', required: true}",
        "access: {admin_kye: '%s'}",
        "access: '%s'",
    ],
)
def test_the_admin_key_is_never_shown(text: str) -> None:
    """Neither by settings that hold it nor by a mistake beside it."""
    try:
        settings = load_settings(written(text % KEY))
        shown = f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    except SettingsError as error:
        shown = f"{error} {error.args}"
    assert KEY not in shown
    assert KEY[20:40] not in shown


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("listen: {host: 0.0.0.0}", ["listen.host"]),
        ("listen: {host: '::'}\ncontrol: {host: 10.1.2.3}", ["listen.host", "control.host"]),
        ("metrics: {host: gateway.internal}", ["metrics.host"]),
        (
            "drift: {enabled: false, models: [{name: m, enabled: true}], sidecar: {metrics_host: 10.1.2.3}}",
            ["drift.sidecar.metrics_host"],
        ),
        ("listen: {host: 0.0.0.0}\ncontrol: {port: 8000}", ["listen.host", "control.port"]),
        ("listen: {host: 0.0.0.0}\naccess: {admin_key: '%s'}" % KEY, ["listen.host"]),  # noqa: UP031 - braces of YAML
    ],
)
def test_what_other_machines_reach_asks_for_access(text: str, keys: list[str]) -> None:
    """Each such listener is named, in one error with whatever else is wrong, and so are the settings that would do."""
    found = mistakes(text)
    assert [line.split(":")[0] for line in found] == keys
    exposed = [line for line in found if ".host" in line]
    assert all("access.required" in line and "access.admin_key_file" in line for line in exposed)


@pytest.mark.parametrize(
    "text",
    [
        "access: {required: true}",
        "metrics: {host: 0.0.0.0, enabled: false}",
        "listen: {host: '::1'}\ncontrol: {host: localhost}\nmetrics: {host: 127.3.2.1}",
    ],
)
def test_what_this_machine_alone_reaches_asks_nobody(text: str) -> None:
    """Loopback stays as easy as it was; with access required every address will do."""
    settings = load_settings(written(text), {"listen.host": "0.0.0.0" if "required" in text else None})  # noqa: S104
    assert settings.access.required == (settings.listen.host == "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize(
    ("host", "good"),
    [
        *((host, True) for host in ("127.0.0.1", "::1", "localhost", "10.0.0.7", "192.168.3.4", "172.16.0.1")),
        *((host, True) for host in ("100.64.1.2", "fd00::7", "node")),
        *((host, False) for host in ("0.0.0.0", "::", "1.1.1.1", "2606:4700::1", "169.254.1.1", "224.0.0.1", "pod")),  # noqa: S104
    ],
)
def test_tritons_ports_stay_inside(host: str, *, good: bool) -> None:
    """On loopback or a pod's private address: Triton itself asks nobody for a key."""
    if good:
        assert load_settings(None, {"triton.host": host}).triton.host == host
    else:
        assert "asks nobody for a key" in mistakes("", {"triton.host": host})[0]


def leaves(said: Mapping[str, object], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every key of a file with its value, lists and mappings of free names as one."""
    for name, value in said.items():
        if isinstance(value, dict) and value and (*before, name) != ("access", "tokens", "roles"):
            yield from leaves(value, (*before, name))
        else:
            yield (*before, name), value


def variable(key: tuple[str, ...]) -> str:
    """What it is called in the environment."""
    return "SLUICE_" + "__".join(key).upper()


def test_every_key_can_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole example, key by key: the settings are the same as from the file; what is null there is left out."""
    text = EXAMPLE.read_text()
    from_file = load_settings(written(text, "example.yaml"))
    for key, value in leaves(yaml.safe_load(text)):
        if value is not None:
            said = yaml.safe_dump(value, default_flow_style=True) if isinstance(value, (list, dict)) else str(value)
            monkeypatch.setenv(variable(key), said)
    assert load_settings() == from_file


BOOLEANS = [key for key, value in leaves(yaml.safe_load(EXAMPLE.read_text())) if isinstance(value, bool)]


@pytest.mark.parametrize("key", BOOLEANS, ids=".".join)
def test_booleans_can_come_from_a_variable(monkeypatch: pytest.MonkeyPatch, key: tuple[str, ...]) -> None:
    """Written true or false, in any case; nothing else will do."""
    for said, meant in (("true", True), ("FALSE", False), ("True", True), ("false", False)):
        monkeypatch.setenv(variable(key), said)
        assert reduce(getattr, key, cast("Any", load_settings())) is meant
    for said in ("1", "yes", "tru", " true"):
        monkeypatch.setenv(variable(key), said)
        with pytest.raises(SettingsError, match="it takes true or false"):
            load_settings()


@pytest.mark.parametrize(
    "origin", ["http://gate.internal:9000", "https://ci.example", "http://[fd00::1]:81", "https://10.0.0.1"]
)
def test_trusted_addresses_are_origins(origin: str) -> None:
    """With a port or without."""
    given = load_settings(None, {"control.trusted_addresses": [origin]}).control.trusted_addresses
    assert given == (origin,)
    assert str(Target.trusted(origin)) == origin


@pytest.mark.parametrize(
    "text",
    [
        "http://h/", "http://h/path", "https://h?x=1", "https://h#x", "https://user:hunter2@h", "ftp://h", "h:80",
        "//h", "", "https://", "https://h:0", "https://h:99999", "https://h:x", "https://h h", "https://[::1", "5", "http://\\h",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused_at_the_start(text: str) -> None:
    """And not when a rollout has its first gate."""
    line = mistakes("", {"control.trusted_addresses": [text]})[0]
    assert line.startswith("control.trusted_addresses")
    assert "without a path" in line
    assert SECRET not in line


def test_tokens_can_come_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that may be left out is read from the environment like any other, and only if it is given."""
    assert load_settings().access.tokens is None
    monkeypatch.setenv("SLUICE_ACCESS__TOKENS__ISSUER", "https://login.example.com")
    monkeypatch.setenv("SLUICE_ACCESS__TOKENS__ROLES", "{ml-ops: operate}")
    tokens = load_settings().access.tokens
    assert tokens is not None
    assert (tokens.issuer, dict(tokens.roles)) == ("https://login.example.com", {"ml-ops": "operate"})


def test_files_begin_at_the_settings_file(tmp_path: Path) -> None:
    """Certificates, keys and logs are found beside the file that names them."""
    text = (
        "tls: {certificate: c.pem, key: /k.pem}\naccess: {admin_key_file: admin, security_log: sec.log}\n"
        "redis: {url: 'rediss://h', ca_file: ca.pem}\ntriton: {ca_file: t.pem}"
    )
    settings = load_settings(written(text, "conf/sluice.yaml"))
    folder = tmp_path / "conf"
    assert (settings.tls.certificate, settings.tls.key) == (folder / "c.pem", Path("/k.pem"))
    assert (settings.access.admin_key_file, settings.security_log) == (folder / "admin", folder / "sec.log")
    assert settings.triton.ca_file == folder / "t.pem"
    assert settings.redis.reached_at("rediss://h") == "rediss://h?ssl_ca_certs=" + quote(str(folder / "ca.pem"), "")
    assert load_settings().security_log == tmp_path / ".sluice" / "logs" / "security.log"


@given(st.integers(1, 65_535), st.integers(1, 65_535))
def test_a_range_holds_its_ends_and_nothing_outside(one: int, other: int) -> None:
    """Text to range and back; 0 is in no range, since it is not a port."""
    low, high = sorted((one, other))
    ports = PortRange.parse(f"{low}-{high}")
    assert PortRange.parse(str(ports)) == ports
    assert low in ports
    assert high in ports
    assert low - 1 not in ports
    assert high + 1 not in ports
    assert 0 not in PortRange.parse("0")
