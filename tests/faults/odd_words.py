"""Odd command lines."""

from hypothesis import strategies as st

KEYS = [
    "epochs", "batch_size", "lr", "seed", "model", "model.depths", "model.widths", "model._target_",
    "model.label", "activation", "activation._target_", "activation.label", "activation.alpha",
    "activation.style", "se", "dataset", "dataset.path", "dataset.image_size", "dataset.classes",
    "dataset.validation", "augment", "optimizer", "optimizer._target_", "optimizer.lr", "schedule",
    "schedule._target_", "figure", "experiment", "tracker", "tracker._target_", "trainer",
    "trainer.device", "trainer.precision", "checkpoint.every", "checkpoint.min_seconds", "figures.metric",
    "figures.line", "figures.y_range", "figures.x", "scaling.phi", "hydra/launcher", "hydra.launcher",
    "hydra.launcher.n_jobs", "hydra.searchpath", "name", "plan", "pack", "fail_fast", "protocol",
    "published", "epoch", "a.b", "",
]  # fmt: skip
TYPED = [
    "", "null", "true", "-1", "0", "1", "1.5", "1e400", "nan", "99999999999999999999999", "[]", "[1]",
    "[a]", "[[]]", "{}", "{a:1}", "{a:{_target_:os.mkdir}}", "relu", "'a\0b'", "../x", "a/b",
    "${oc.env:HOME}", "${lr}", "${", "[/x]", "range(0)", "range(1,3)", "interval(0,1)", "choice(1,2)",
    "choice()", "shuffle(1,2)", "sort(2,1)", "tag(a,1)", "glob(no*)", "os.system", "torch.nn.ReLU",
    "senet_lab.cli.main", "relu,mish", "1,1", "'", "\"",
]  # fmt: skip
VERBS = ("train", "summary", "status", "verify", "plot", "report", "inspect", "watch")

NO_VALUE = (
    "null", "[]", "[1]", "[[]]", "{}", "{a:1}", "{_target_:os.mkdir}", "nan", "inf", "-inf", "-1", "1e400",
    "range(0)", "range(1,1)", "choice()", "interval(0,1)", "glob(*)", "glob(nothing*)", "1,2", "'a\0b'",
    "'\x1b[31m'", "'\u202e'", "'a\nb'", "../x", "a/../../x", "x" * 5000, "${oc.env:SENET_LAB_NONE}",
    "${nothing}", "${", "(", "'",
)  # fmt: skip
"""Values that no number and no option of a group can have."""
WRONG: dict[tuple[str, ...], tuple[str, ...]] = {
    ("epochs", "batch_size", "seed", "accumulate", "checkpoint.every", "pack"): (
        *NO_VALUE, "1.5", "true", "abc", "9" * 21, "9" * 5000,
    ),
    ("lr", "clip_grad", "label_smoothing", "ema", "scaling.alpha", "checkpoint.min_seconds"): (
        *NO_VALUE, "abc", "torch.nn.ReLU",
    ),
    ("model", "activation", "se", "dataset", "augment", "optimizer", "schedule", "hydra/launcher"): (
        *NO_VALUE, "1", "os.system", "a,a",
    ),
    ("name",): (
        "''", ".", "..", "a/b", "/a", "a\\b", "'a\0b'", "'\x1b[31m'", "'a\nb'", "[a]", "{a:1}", "x" * 300,
        "range(0)", "glob(*)", "a,b", "${nothing}",
    ),
    ("", "a.b", "+epoch", "++a.b", "~epochs", "x" * 5000, "a b", "hydra.searchpath", "hydra.launcher"): (
        "", "1", "null", "[1]", "x" * 300,
    ),
}  # fmt: skip
"""Keys, and values of which each is bad usage for each of them."""

RIGHT = "pack=null"  # as many as the machine bears

WRONG_WORDS = sorted(
    {f"{key}={value}" for keys, values in WRONG.items() for key in keys for value in values} - {RIGHT}
)
"""Overrides that are bad usage."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A verb with one to three odd overrides."""
    words = draw(
        st.lists(
            st.builds(
                "{}{}={}".format,
                st.sampled_from(["", "", "", "+", "++", "~"]),
                st.sampled_from(KEYS),
                st.sampled_from(TYPED),
            ),
            min_size=1,
            max_size=3,
        )
    )
    return [draw(st.sampled_from(VERBS)), *draw(st.sampled_from([[], ["-m"]])), *words]
