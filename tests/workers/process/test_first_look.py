"""What a worker looks at before it takes a job."""

import logging

import pytest
from sqlalchemy import update

from storage.artifacts.store import ArtifactStore
from storage.database import writing
from storage.ledger.statements import insert_missing
from storage.operator_config import ConfigError
from storage.tables import DEFAULT_TENANT, artifacts, models
from workers.models.architectures import broken_factories
from workers.process.first_look import require_our_store, warn_of_factories


def test_a_store_that_has_nothing_of_the_ledger_is_refused(context, images, tmp_path, claimed):
    require_our_store(context.engine, context.settings)  # a ledger without artefacts says nothing
    [digest] = images(1)
    claimed({"method": "integrated_gradients", "n_steps": 4}, model="tiny@1", inputs=[{"image": digest}])
    with writing(context.engine) as connection:
        row = {"tenant": DEFAULT_TENANT, "sha256": digest, "media_type": "image/png", "size": 1, "details": None}
        insert_missing(connection, artifacts, [row])
    require_our_store(context.engine, context.settings)
    other = context.settings.model_copy(update={"artifact_url": f"file://{tmp_path}/other"})
    ArtifactStore(other.resolved_artifact_url)
    with pytest.raises(ConfigError, match=r"none of the newest 1 artefacts of the ledger.*ATTRIBUTION_ARTIFACT_URL"):
        require_our_store(context.engine, other)


def test_versions_whose_factory_is_not_configured_are_named(context, classifier, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_factories(context.engine, frozenset())
    assert caplog.text == ""
    with writing(context.engine) as connection:
        spec = classifier.spec.model_dump(mode="json") | {"architecture": "factory:nets"}
        connection.execute(update(models).values(spec=spec))
    warn_of_factories(context.engine, frozenset({"nets"}))
    assert caplog.text == ""
    warn_of_factories(context.engine, frozenset({"others"}))
    assert "tiny@1 need the factory 'nets', which this worker's ATTRIBUTION_CONFIG_FILE does not have" in caplog.text


def test_factories_are_imported_to_find_out_which_are_broken(tmp_path, monkeypatch):
    (tmp_path / "factories_that_raise.py").write_text('raise RuntimeError("no licence")')
    monkeypatch.syspath_prepend(tmp_path)
    found = list(
        broken_factories(
            {
                "good": "torchvision.models:resnet18",
                "misspelt": "torchvision.models:resnet81",
                "raises": "factories_that_raise:build",
                "missing": "no_such_package.nets:build",
            }
        )
    )
    assert len(found) == 3
    assert "has no 'resnet81'; did you mean 'resnet18'" in found[0]
    assert "mend `factories` in ATTRIBUTION_CONFIG_FILE" in found[0]
    assert "RuntimeError: no licence" in found[1]
    assert "PYTHONPATH" in found[2]
