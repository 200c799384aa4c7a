"""Models of the configuration file, registered by hand."""

import hashlib

import pytest
import torch
from safetensors.torch import save

MODEL = """
[[models]]
name = "emotions"
architecture = "{architecture}"
preprocessing = {{ color = "grey", size = [64, 64] }}
weights_file = {{ path = "weights.safetensors", sha256 = "{sha256}" }}
"""
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def synced(run, tmp_path):
    """What the command says of a model."""

    def sync(architecture: str) -> str:
        file = tmp_path / "attribution.toml"
        file.write_text(MODEL.format(architecture=architecture, sha256=EMPTY))
        found = run("models", "sync", "--config", str(file))
        assert found.exit_code == 1
        return found.output

    return sync


def test_weights_that_are_not_there_are_told_with_their_whole_path(synced, tmp_path):
    said = synced("mnist_cnn")
    assert f"emotions@1: there is no weights file {tmp_path}/weights.safetensors: where its path is relative" in said


def test_a_factory_that_the_gateway_lacks_asks_for_the_same_file(synced, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    said = synced("factory:emotions")
    assert "the gateway's ATTRIBUTION_CONFIG_FILE has no factory 'emotions'" in said
    assert "gateways and workers with the same file" in said


class TestAnotherFile:
    """A network that was trained again, under the name and version of the one before."""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(save({"weight": torch.zeros(1)}))
        return path

    @pytest.fixture
    def registered(self, house, file):
        """The digest of the file that answers."""
        preprocessing = {"color": "grey", "size": [64, 64]}
        sha256 = digest_of(file)
        house.add_model(
            "emotions", architecture="mnist_cnn", weights={"sha256": sha256}, preprocessing=preprocessing, labels=[]
        )
        return sha256

    @pytest.fixture
    def sync(self, run, tmp_path):
        def synced(sha256):
            config = tmp_path / "attribution.toml"
            config.write_text(MODEL.format(architecture="mnist_cnn", sha256=sha256))
            return run("models", "sync", "--config", str(config))

        return synced

    def test_the_same_one_is_ready_and_need_not_be_there(self, registered, file, sync):
        assert sync(registered).stdout == "emotions@1: ready\n"
        file.unlink()
        assert sync(registered).stdout == "emotions@1: ready\n"

    def test_it_is_told_where_the_configuration_says_the_old_digest(self, registered, file, sync):
        file.write_bytes(save({"weight": torch.ones(1)}))
        found = sync(registered)
        assert found.exit_code == 1
        assert f"{file} has sha256 {digest_of(file)}; the configuration says {registered}" in found.stdout
        assert "what emotions@1 goes on answering with" in found.stdout
        assert "a new version" in found.stdout
        assert "put the old file back" in found.stdout

    def test_it_is_told_where_the_configuration_says_the_new_one(self, house, registered, file, sync):
        before = house.http.get("/v1/models/emotions/versions/1").json()["sha256"]
        file.write_bytes(save({"weight": torch.ones(1)}))
        found = sync(digest_of(file))
        assert found.exit_code == 1
        assert before in found.stdout
        assert "register this one under a new version" in found.stdout
