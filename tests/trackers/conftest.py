"""Local stores and no network. An empty MLflow store is made once, since that takes seconds."""

import os
import shutil
from pathlib import Path

import pytest
from sweeps import one_thread, outputs  # noqa: F401

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_PROJECT"):
    os.environ.pop(variable, None)


@pytest.fixture(params=["tensorboard", "mlflow", "wandb"])
def library(request: pytest.FixtureRequest, outputs: Path) -> str:  # noqa: F811
    """A tracker whose library is here; its store is as a first command finds it, but MLflow's has tables."""
    name = request.param
    pytest.importorskip(name)
    if name == "mlflow":
        pytest.importorskip("sqlalchemy")
        folder = outputs / "tracking/mlflow"
        folder.mkdir(parents=True)
        shutil.copy(request.getfixturevalue("empty_store"), folder / "mlflow.db")
    return name


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, with nothing in them."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file
