import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from statistics import mean as mean_of
from statistics import stdev

import pandas as pd
import pytest
import yaml
from support import rows_without_seconds, tiny

import senet_lab as sl
from senet_lab.cli import main
from senet_lab.composition.command import compose_command, config_folder
from senet_lab.config import SCHEMAS, RunConfig, TrainConfig
from senet_lab.records.rows import Metrics, columns

LAUNCHERS = config_folder() / "hydra" / "launcher"
BAD_INPUT = {
    "train -m tracker=tensorboard,none": "tracker is not part of a run: give it one value instead of 2",
    "train -m hydra/launcher=serial,joblib": "hydra/launcher is not part of a run: give it one value",
    "bogus": "unknown verb 'bogus'",
    "stauts": "did you mean status?",
    "train -m seed=0,1 --cfg job": "--cfg shows the config of one run: leave out -m",
    "train --cfg jobs": "invalid choice: 'jobs'",
    "train --cfg job --package nowhere": "--package nowhere: the config has no such node",
    "train model=senet81": "did you mean senet18?",
    "train model=published/senet19": "did you mean published/senet18?",
    "train activation=mihs": "did you mean mish?",
    "train dataset=cifar11": "did you mean cifar10?",
    "train experiment=six_plot": "did you mean six_plots?",
    "train hydra/launcher=jobli": "did you mean joblib?",
    "train learning_rate=0.1": "unknown key learning_rate",
    "train model.widht=3": "unknown key model.widht",
    "train modle.depths=3": "unknown key modle.depths: did you mean model?",
    "train optimizer.lr=3": "unknown key optimizer.lr: did you mean lr?",
    "train +model.widht=3": "unexpected keyword argument 'widht'",
    "train lr=0": "lr must be a finite number above 0",
    "train lr=-1": "lr must be a finite number above 0",
    "train lr=nan": "lr must be a finite number above 0",
    "train lr=inf": "lr must be a finite number above 0",
    "train lr=fast": "lr=fast: Value 'fast'",
    "train epochs=0": "epochs must be an integer of 1 or more",
    "train epochs=-3": "epochs must be an integer of 1 or more",
    "train epochs=nan": "epochs=nan",
    "train epochs=many": "epochs=many",
    "train batch_size=0": "batch_size must be an integer of 1 or more",
    "train batch_size=2.5": "batch_size=2.5",
    "train batch_size=4": "leaves a last batch of one image",
    "train seed=1.5": "seed=1.5",
    "train seed=-1": "seed must be an integer of 0 or more",
    "train seed=lucky": "seed=lucky",
    "train -m seed=0,lucky": "seed=lucky",
    "train seed=0,1": "add -m to sweep",
    "train dataset=arrays": "dataset.path=FILE.npz",
    "train dataset=arrays dataset.path=missing.npz": "missing.npz",
    "train name=../x": "name must be one folder name",
    "train name=/x": "name must be one folder name",
    "train name=.x": "name must be one folder name",
    "train name=": "name must be one folder name",
    "train outputs=/proc/nowhere": "/proc/nowhere/default cannot be created",
    "train activation=../../x": "an option's name, not a path",
    "train model=/etc/passwd": "an option's name, not a path",
    "train model._target_=os.system": "model._target_=os.system: must name a class in one of",
    "train activation._target_=torch.nn.functional.os.system": "there is no such class",
    "train model._target_=senet_lab.data.datasets.Path": "must be a subclass of torch.nn",
    "train model.name=../x": "model.name must be one folder name",
    "train se=standard model=published/senet18": "has no place for it",
    "train trainer.device=tpu": "must be auto, cpu, cuda or cuda:<n>",
    "train trainer.precision=int8": "trainer.precision=int8",
    "train trainer.compile=maybe": "trainer.compile=maybe: Value 'maybe' is not a valid bool",
    "train label_smoothing=1": "label_smoothing must be a number from 0 to below 1",
    "train clip_grad=-1": "clip_grad must be a finite number, 0 or more",
    "train ema=1": "ema must be a number from 0 to below 1",
    "train pack=0": "pack must be an integer of 1 or more",
    "train checkpoint.every=0": "checkpoint.every must be an integer of 1 or more",
    "train hydra.launcher.n_jobs=0": "must be an integer of 1 or more",
    "train --workers 3": "unknown option --workers",
    "train --config-dir /nowhere": "there is no such folder",
    "train lr=0.1 batch_size={": "no viable alternative at input",
    "status name=never": "plan.json does not exist",
    "plot name=never": "never",
}


@pytest.mark.parametrize("line", BAD_INPUT)
def test_bad_input_gets_one_line_and_exit_code_2_and_writes_nothing(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    out, err = capfd.readouterr()
    assert err.startswith("senet-lab: ")
    assert err.count("\n") == 1
    assert BAD_INPUT[line] in err
    assert out == ""
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    assert main(["train", *tiny(tmp_path)]) == 2
    assert "cannot be created" in capfd.readouterr().err


def test_a_run_leaves_its_record_and_is_not_run_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["train", *tiny(tmp_path), "activation=tact", "lr=0.01", "seed=3"]
    assert main(line) == 0
    run = tmp_path / "outputs/default/runs/resnet18/tact/lr=0.01/seed=3"
    files = {file.name for file in run.iterdir() if not file.name.startswith(".")}
    assert files == {"config.yaml", "environment.json", "status.json", "metrics.csv", "activations.csv"}
    header = ",".join(columns(Metrics))
    lines = (run / "metrics.csv").read_text().splitlines()
    assert lines[0] == header
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "0.01"], ["1", "0.01"]]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["epochs_done"], status["epochs"]) == ("finished", 2, 2)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["lr"], config["seed"], config["activation"]["name"]) == (0.01, 3, "tact")
    sites = (run / "activations.csv").read_text().splitlines()
    assert sites[0] == "epoch,site,coefficient,value"

    before = (run / "metrics.csv").stat()
    capfd.readouterr()
    assert main(line) == 0
    assert "1 of 1 run is finished already" in capfd.readouterr().out
    assert (run / "metrics.csv").stat() == before


def test_training_ends_with_the_last_errors_and_the_next_commands(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny(tmp_path), "name=ends", "hydra/launcher=serial"]
    assert main(["train", "-m", *words, "activation=relu,mish", "seed=0,1"]) == 0
    *_, title, heading, relu, mish, figures, page = capfd.readouterr().out.splitlines()
    assert title == "Test error at the last epoch, mean ± sample standard deviation"
    assert heading.split() == ["figure", "line", "error", "n", "epoch"]
    for row, name in ((relu, "relu"), (mish, "mish")):
        folder = tmp_path / "outputs/ends/runs/resnet18" / name
        last = [pd.read_csv(file)["test_top1"].iloc[-1] for file in folder.rglob("metrics.csv")]
        mean, std = 1 - mean_of(last), stdev(last)
        assert row.split()[2:] == [f"{mean:.4f}", "±", f"{std:.4f}", "2", "1"]
    for line, verb in ((figures, "plot"), (page, "report")):
        words = line.split(f"senet-lab {verb} ")[1].split()
        assert words == ["name=ends", f"outputs={tmp_path}/outputs"]
        assert main([verb, *words]) == 0


def test_runs_that_cannot_be_grouped_are_trained_and_the_reason_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny(tmp_path), "figures.line='${no.such}'"]) == 0
    assert "no table of results: figures: " in capfd.readouterr().out.splitlines()[-1]


def test_a_sweep_remembers_the_figures_that_it_was_planned_with(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["name=mine", f"outputs={tmp_path}/outputs"]
    figures = ["figures.name=all", "figures.line='of ${activation.name}'", "figures.metric=train_loss"]
    assert main(["train", *tiny(tmp_path), "name=mine", *figures]) == 0
    assert "of relu" in capfd.readouterr().out
    for more, stem, line in (
        ([], "final_train_loss", "of relu"),
        (["figures.metric=test_error"], "final", "of relu"),
        (["figures.line='${activation.label}'"], "final_train_loss", "ReLU"),
    ):
        assert main(["plot", *words, "formats=[html]", *more]) == 0
        folder = tmp_path / "outputs/mine/figures"
        final = pd.read_csv(folder / f"{stem}.csv")
        assert (final["figure"].tolist(), final["line"].tolist()) == (["all"], [line])
    capfd.readouterr()
    assert main(["status", *words, "format=json"]) == 0
    assert [one["figure"] for one in json.loads(capfd.readouterr().out)["figures"]] == ["all"]
    assert sl.open_sweep(tmp_path / "outputs/mine").figures == ["all"]
    line = "figures.line='and ${activation.name}'"
    assert main(["train", *tiny(tmp_path), "name=mine", "seed=1", "plan=extend", line]) == 0
    assert main(["plot", *words, "formats=[html]"]) == 0
    final = pd.read_csv(tmp_path / "outputs/mine/figures/final_train_loss.csv")
    assert final[["figure", "line", "n"]].to_numpy().tolist() == [["all", "and relu", 2]]


def test_another_config_in_the_same_directory_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny(tmp_path)]) == 0
    metrics = next(tmp_path.rglob("metrics.csv"))
    before = metrics.read_bytes()
    assert main(["train", *tiny(tmp_path), "epochs=3"]) == 2
    assert "was planned with epochs=2, not epochs=3" in capfd.readouterr().err
    assert metrics.read_bytes() == before


def test_same_seed_same_rows_other_seed_other_rows(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        assert main(["train", *tiny(tmp_path), f"name={name}", f"seed={seed}"]) == 0
    one, two, three = (
        rows_without_seconds(next((tmp_path / "outputs" / name).rglob("metrics.csv")))
        for name in ("one", "two", "three")
    )
    assert one == two
    assert one != three


def test_the_axes_of_a_sweep_name_its_directories() -> None:
    def directories(*overrides: str) -> list[str]:
        return [point.directory for point in compose_command("train", overrides, multirun=True).points]

    assert directories("model=resnet18", "se=standard", "se.reduction=4,8", "lr=1e-3") == [
        "runs/resnet18/relu/lr=0.001/se.reduction=4/seed=0",
        "runs/resnet18/relu/lr=0.001/se.reduction=8/seed=0",
    ]
    whole = directories("experiment=se_gate", "seed=0")
    assert directories("experiment=se_gate", "seed=0", "se.gate=tanh")[0] in whole


def test_a_new_activation_is_one_class_and_one_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "mylab"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n\n\nclass Cube(torch.nn.Module):\n    def forward(self, x):\n        return x**3\n"
    )
    group = tmp_path / "myconf" / "activation"
    group.mkdir(parents=True)
    (group / "cube.yaml").write_text("_target_: mylab.Cube\nname: cube\nlabel: Cube\nstyle: null\n")
    line = ["train", *tiny(tmp_path), "activation=cube", "--config-dir", str(tmp_path / "myconf")]
    assert main(line) == 2
    assert "must name a class in one of" in capfd.readouterr().err
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SENET_LAB_PACKAGES", "mylab")
    assert main(line) == 0
    assert (tmp_path / "outputs/default/runs/resnet18/cube/lr=0.001/seed=0/metrics.csv").exists()


def test_cfg_shows_the_config(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "job", "model=senet18", "lr=0.5"]) == 0
    job = yaml.safe_load(capfd.readouterr().out)
    assert (job["lr"], job["model"]["depth"], "hydra" in job) == (0.5, "${scaling.depth}", False)
    assert main(["train", "--cfg", "job", "--package", "model", "--resolve"]) == 0
    assert yaml.safe_load(capfd.readouterr().out)["depth"] == 1.0
    assert main(["train", "--cfg", "hydra", "hydra/launcher=serial"]) == 0
    assert yaml.safe_load(capfd.readouterr().out)["launcher"] == {
        "_target_": "senet_lab.runs.launchers.Serial"
    }


@pytest.mark.parametrize("verb", SCHEMAS)
def test_the_help_of_a_verb_begins_with_its_own_keys(
    verb: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([verb, "--help"]) == 0
    page = capfd.readouterr().out
    own = {field.name for field in fields(SCHEMAS[verb])}
    if issubclass(SCHEMAS[verb], TrainConfig):
        own -= {field.name for field in fields(RunConfig if verb == "train" else TrainConfig)}
    _, line, keys, *_ = page.split("\n\n")
    assert line.endswith(".")
    assert keys.startswith(f"Keys of {verb}:\n  " if own else "The sweep:\n  ")
    if not own:
        return
    shown = set(re.findall(r"^  (\w+)=", keys, re.MULTILINE))
    assert shown == own - {"figures"}  # which has keys of its own: --help all
    for key in own - {"figures"}:
        assert re.search(rf"^  {key}=\S*\s+\S", keys, re.MULTILINE), f"{key} lacks a line"
    assert max(map(len, page.splitlines())) <= 100


def test_help_names_options_values_and_launchers(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "model=cnn3"]) == 0
    page = " ".join(capfd.readouterr().out.split())
    assert "joblib, ray, serial, submitit_local, submitit_slurm, torchrun" in page
    assert "model=cnn3 The network. cnn3, condconv_mobilenetv2" in page
    assert "plan=keep keep, extend or new." in page
    comment = re.search(r"^n_jobs: null +# (.+)$", (LAUNCHERS / "joblib.yaml").read_text(), re.MULTILINE)
    assert comment
    assert f"hydra.launcher.n_jobs=null {comment[1]}" in page
    assert "trainer.precision" not in page
    assert main(["plot", "--help", "all"]) == 0
    page = " ".join(capfd.readouterr().out.split())
    assert "trainer.precision=auto auto, float32, tf32 or bfloat16. Number format" in page
    assert "model.stride_at=0" in page
    assert "activation=relu,mish lr=0.001" in page


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"hydra", "omegaconf", "torch", "pandas", "bokeh", "scipy"}),
        (["train", "--cfg", "job"], {"torch", "pandas", "bokeh", "scipy"}),
        (["train", "--help", "all"], {"torch", "pandas", "bokeh", "scipy"}),
    ],
)
def test_an_answer_waits_for_no_library_that_it_does_not_need(
    arguments: list[str], unwanted: set[str]
) -> None:
    script = "import sys; from senet_lab.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert not unwanted & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("line", [["--help"], ["doctor", "format=json"]])
def test_output_that_nobody_reads_is_no_success(line: list[str]) -> None:
    """A sweep's is tested in tests/faults."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "senet_lab", *line],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("senet-lab tr", "train"),
        ("senet-lab train activation=m", "activation=mish activation=mtact"),
        ("senet-lab train epo", "epochs="),
    ],
)
def test_the_shell_completes(typed: str, offered: str, tmp_path: Path) -> None:
    environment = {"COMP_LINE": typed, "COMP_POINT": str(len(typed))}
    answer = _senet_lab(["-sc", "query=bash"], tmp_path, **environment)
    assert set(offered.split()) <= set(answer.stdout.split())


def test_summary_counts_in_json(capfd: pytest.CaptureFixture[str]) -> None:
    line = ["summary", "model=published/mobilenetv2", "activation=tact", "image_size=32", "format=json"]
    assert main(line) == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["parameters"] == 2_254_126
    assert summary["activation_sites"] == 36
    assert summary["activation_instances"] == 18


def test_doctor_names_what_it_finds(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "format=json"]) == 0
    rows = {row["item"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows["python"]["found"].startswith("3.")
    assert set(rows) >= {"torch", "cpu", "chromium", "dataset cifar10"}


def _senet_lab(arguments: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "senet_lab", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
