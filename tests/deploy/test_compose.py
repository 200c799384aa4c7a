import re
from urllib.parse import urlsplit

import click
import pytest

from cli.main import command
from storage.settings import Settings
from tests.deploy.files import OWN_IMAGE, ROOT, compose, dockerfile, services
from workers.process.process import HARD_LIMIT_MARGIN_S

OURS = sorted(name for name, service in services().items() if service["image"].startswith(OWN_IMAGE))
THEIRS = sorted(services().keys() - set(OURS))
every_service = pytest.mark.parametrize("name", sorted(services()))
our_service = pytest.mark.parametrize("name", OURS)


def seconds(duration: str) -> float:
    found = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)([smh])\}?", duration)
    assert found, duration
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def megabytes(size: str) -> float:
    found = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)([mg])\}?", size)
    assert found, size
    return int(found[1]) * {"m": 1, "g": 1024}[found[2]]


def test_it_has_the_parts_of_the_service():
    assert OURS == ["gateway", "migrate", "models", "reconcile", "worker", "worker-cpu"]
    assert THEIRS == ["postgres", "redis"]


@every_service
def test_a_service_has_no_more_rights_than_it_needs(name):
    service = services()[name]
    uid = int(service["user"].split(":")[0])
    assert uid > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}


@every_service
def test_a_service_is_limited_restarted_and_looked_after(name):
    service = services()[name]
    limits = service["deploy"]["resources"]["limits"]
    assert 256 <= megabytes(limits["memory"]) <= 32 * 1024
    assert limits["pids"] <= 1024
    assert "max-size" in service["logging"]["options"]
    if name in {"migrate", "models"}:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert seconds(service["stop_grace_period"]) >= 30


@our_service
def test_our_services_run_commands_and_targets_that_exist(name):
    service = services()[name]
    run, *rest = service["command"]
    found = command.commands[run]
    assert not rest or not isinstance(found, click.Group) or rest[0] in found.commands
    assert service["build"]["dockerfile"] == "Dockerfile.gpu"
    assert service["build"]["target"] in dockerfile()
    assert service["image"].startswith(f"{OWN_IMAGE}{service['build']['target']}:")
    check = service["healthcheck"]
    assert check.get("disable") or check["test"] == ["CMD", "attribution", "health", run]


@our_service
def test_our_services_set_only_what_is_a_setting(name):
    known = {f"ATTRIBUTION_{field.upper()}" for field in Settings.model_fields} | {"ATTRIBUTION_URL"}
    assert services()[name]["environment"].keys() <= known


def test_only_the_gateway_is_published_and_only_to_this_machine():
    assert {name: service["ports"] for name, service in services().items() if "ports" in service} == {
        "gateway": ["127.0.0.1:${ATTRIBUTION_PORT:-8000}:8000"]
    }
    assert services()["gateway"]["environment"]["ATTRIBUTION_PORT"] == "8000"


@pytest.mark.parametrize("name", THEIRS)
def test_broker_and_database_are_on_the_internal_network_alone(name):
    assert services()[name]["networks"] == ["backend"]
    assert compose()["networks"]["backend"] == {"internal": True}


@every_service
def test_a_service_uses_volumes_networks_and_secrets_that_are_declared(name):
    service, whole = services()[name], compose()
    assert {volume.partition(":")[0] for volume in service["volumes"]} <= whole["volumes"].keys()
    assert set(service["networks"]) <= whole["networks"].keys()
    assert set(service["secrets"]) <= whole["secrets"].keys()
    assert set(service.get("depends_on", {})) <= whole["services"].keys()


def test_passwords_come_from_files_that_have_no_default():
    for name, secret in compose()["secrets"].items():
        assert re.fullmatch(r"\$\{ATTRIBUTION_SECRETS:\?[^}]+\}/" + name, secret["file"])
        assert name.removeprefix("attribution_") in Settings.model_fields


@every_service
def test_no_password_stands_in_the_environment_or_the_command(name):
    service = services()[name]
    for variable, value in service.get("environment", {}).items():
        assert urlsplit(value).password is None, variable
        assert "PASSWORD" not in variable or variable.endswith("_FILE"), variable
    words = " ".join([*service.get("entrypoint", []), *service.get("command", [])])
    assert not re.search(r"--(requirepass|pass|password)\b|requirepass \w|password=\w", words)


def test_the_broker_keeps_its_queue_and_wants_a_password():
    [script] = services()["redis"]["command"]
    for line in ("requirepass $${password:?", "appendonly yes", "maxmemory-policy noeviction", "dir /data"):
        assert line in script
    assert "queue:/data" in services()["redis"]["volumes"]


def test_the_gpu_worker_reserves_its_gpu_and_the_other_does_not():
    reserved = services()["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert [(device["driver"], device["capabilities"], len(device["device_ids"])) for device in reserved] == [
        ("nvidia", ["gpu"], 1)
    ]
    cpu = services()["worker-cpu"]
    assert "reservations" not in cpu["deploy"]["resources"]
    assert cpu["profiles"] == ["cpu"]
    assert cpu["environment"]["ATTRIBUTION_DEVICE"] == "cpu"
    assert "profiles" not in services()["worker"]


@pytest.mark.parametrize("name", ["worker", "worker-cpu"])
def test_a_worker_has_the_time_to_end_its_job_and_the_memory_for_its_models(name):
    service, settings = services()[name], Settings.model_fields
    assert seconds(service["stop_grace_period"]) > settings["job_time_limit_s"].default + HARD_LIMIT_MARGIN_S
    assert megabytes(service["deploy"]["resources"]["limits"]["memory"]) * 2**20 > settings["model_cache_bytes"].default


def test_everything_waits_for_the_migration_and_the_gateway_does_not_wait_for_the_broker():
    for name in set(OURS) - {"migrate"}:
        assert services()[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert "redis" not in services()["gateway"]["depends_on"]
    assert services()["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_gateway_and_workers_share_their_artefacts():
    for name in ("gateway", "worker", "worker-cpu"):
        service = services()[name]
        assert "artifacts:/data" in service["volumes"]
        assert service["environment"]["ATTRIBUTION_ARTIFACT_URL"] == "${ATTRIBUTION_ARTIFACT_URL:-/data/artifacts}"


@pytest.mark.parametrize("name", THEIRS)
def test_images_of_others_are_pinned(name):
    assert re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?", services()[name]["image"])


def test_the_example_names_every_variable_and_no_other():
    used = set(re.findall(r"\$\{([A-Z_]+)[:}]", (ROOT / "docker-compose.yml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) == used
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == {"ATTRIBUTION_SECRETS"}


def test_what_holds_passwords_is_not_committed():
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"/.env", "/attribution.env", "/secrets/"} <= set(ignored)
