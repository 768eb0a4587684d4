import pytest

from common import class_paths
from common.class_paths import SAVED_SPLIT, UntrustedNameError, judge, up_to_date


@pytest.mark.parametrize(
    "name",
    [
        "lightning_modules.MLP",
        "datamodules.sets.manifest.Manifest",
        "callbacks.EMA",
        "ensembling.heads.fitting.LogisticHead",
        "pipelines.cells.executors.LocalExecutor",
        "torch.optim.SGD",
        "torch.optim._muon.Muon",
        "torchvision.transforms.v2.Resize",
        "timm.optim.Lion",
        "torchmetrics.Accuracy",
        "lightning.pytorch.callbacks.Timer",
        "lightning.fabric.plugins.TorchCheckpointIO",
    ],
)
def test_judge__the_project_and_its_libraries(name):
    judge(name)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("notes.Note", "add --allow notes if you trust it"),
        ("my.nets.deep.Tiny", "add --allow my if you trust it"),
        ("torch_extras.Adam", "add --allow torch_extras if"),
        ("lightning_modules_2.MLP", "add --allow lightning_modules_2"),
        ("tests.helpers.data.Blobs", "add --allow tests"),
        ("numpy.load", "add --allow numpy"),
        ("os.system", "name a class of this project, torch"),
        ("subprocess.Popen", "name a class of this project, torch"),
        ("builtins.eval", "name a class of this project, torch"),
        ("torch.hub.load", "name a class of this project, torch"),
        ("torch.load", "name a class of this project, torch"),
        ("torch.multiprocessing.spawn", "name a class of this project, torch"),
        ("torch.utils.cpp_extension.load", "name a class of this project, torch"),
        ("lightning.pytorch.cli.LightningCLI", "name a class of this project, torch"),
    ],
)
def test_judge__others_are_refused_with_the_way_out(name, way_out):
    with pytest.raises(UntrustedNameError, match=f"^{name} is not imported, because.*{way_out}"):
        judge(name)


def test_import_class__refuses_before_it_imports(notes):
    with pytest.raises(UntrustedNameError, match="--allow notes"):
        class_paths.import_class("notes.Note")
    assert not notes.exists()
    class_paths.trust("notes")
    assert class_paths.import_class("notes.Note").__name__ == "Note"
    assert notes.exists()


def test_take_options__allows_and_forgets():
    words = ["--allow", "notes, my.nets", "fit", "--allow=more", "--run.name", "a"]
    assert class_paths.take_options(words) == ["fit", "--run.name", "a"]
    for name in ("notes.Note", "my.nets.Tiny", "more.deep.Name"):
        judge(name)
    with pytest.raises(UntrustedNameError):
        judge("my.other.Tiny")
    assert class_paths.options() == ["--allow", "notes,my.nets,more"]
    # what another command line has allowed
    assert class_paths.take_options(["test"]) == ["test"]
    assert class_paths.options() == []
    with pytest.raises(UntrustedNameError):
        judge("notes.Note")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--allow"], "takes the name of a module or class, such as my_nets, not ''"),
        (["--allow", "a.py b", "fit"], "not 'a.py b'"),
        (["--allow", "*"], r"not '\*'"),
        (["--allow", "./nets.py"], "not './nets.py'"),
        (["--allow", "os"], "--allow os: this is Python's own"),
        (["--allow", "my_nets,subprocess.Popen"], "--allow subprocess.Popen: this is Python's own"),
    ],
)
def test_take_options__what_names_nothing(words, message):
    with pytest.raises(ValueError, match=message):
        class_paths.take_options(words)


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "notes.Note"],
        ["--model=notes.Note"],
        ["--trainer.callbacks+=notes.Note"],
        ["--model.help", "notes.Note"],
        ["--model.optimizer", "{class_path: notes.Note, init_args: {lr: 1}}"],
        ["--trainer.callbacks", "[Timer, {class_path: notes.Note}]"],
        ["--members", "[{name: a, options: {model: {class_path: notes.Note}}}]"],
    ],
)
def test_judge__a_typed_class_is_trusted_with_its_package(words):
    class_paths.take_options(["fit", *words])
    with pytest.raises(UntrustedNameError):
        judge("notes.core.Note")
    judge("notes.Note")
    # its defaults, and where it is defined
    judge("notes.core.Note")
    # passed on to the processes that this one starts
    assert class_paths.options() == ["--allow", "notes"]


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "notes.Note"],
        ["-c", "notes.Note"],
        ["--config=notes.Note"],
        ["--ckpt_path", "notes.Note"],
        ["--data.root", "./notes.Note"],
        ["--data.manifest", "table.csv"],
        ["--run.name", "notes"],
        ["--run.name", "a" * 5000 + ".b"],
        ["--data.root", "[1"],
    ],
)
def test_judge__a_typed_file_is_no_class(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").touch()
    class_paths.take_options(["fit", *words])
    for name in ("notes.Note", "table.csv"):
        with pytest.raises(UntrustedNameError):
            judge(name)


@pytest.mark.parametrize("typed", ["os.system", "torch.hub.load", "torch.optim.SGD", "lightning_modules.MLP"])
def test_judge__typing_opens_neither_the_standard_library_nor_a_whole_library(typed):
    class_paths.take_options(["fit", "--model", typed])
    for name in ("os.system", "torch.hub.load"):
        with pytest.raises(UntrustedNameError):
            judge(name)
    assert class_paths.options() == []


def test_judge_all__names_the_file():
    config = {"model": {"class_path": "MLP", "init_args": {"loss": [{"class_path": "notes.Loss"}]}}}
    with pytest.raises(UntrustedNameError, match="^a.ckpt: notes.Loss is not imported"):
        class_paths.judge_all(config, "a.ckpt")
    class_paths.judge_all({"a": {"class_path": "MLP"}, "b": [1, None, {"class_path": "torch.optim.SGD"}]}, "a.ckpt")


def test_named_in__values_that_are_held_many_times_are_looked_at_once():
    content = [{"class_path": "notes.Note"}]
    for _ in range(100):
        content = [content, content]
    assert class_paths.named_in(content) == ["notes.Note"]


def test_up_to_date__a_saved_config_without_a_split_version_is_drawn_as_then():
    saved = dict.fromkeys(SAVED_SPLIT, 0)
    config = {"data": {"class_path": "datamodules.Npz", "init_args": saved}}
    assert up_to_date(config)["data"]["init_args"] == saved | {"split_version": 1}
    later = {"class_path": "datamodules.Npz", "init_args": saved | {"split_version": 2}}
    assert up_to_date(later) == later
    # one that somebody wrote
    written = {"class_path": "datamodules.Npz", "init_args": {"split_seed": 3, "val_fraction": 0.2}}
    assert up_to_date(written) == written
