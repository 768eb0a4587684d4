import errno
import os
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import EarlyStopping
from safetensors import SafetensorError

from common.spelling import nearest
from lightning_modules import Linear
from pipelines.cli.errors import explain, wrong_value
from records.whole_file import naming
from tests.helpers.cli import run
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def message(capsys):
    """What the person at the prompt sees: at most two lines."""
    text = capsys.readouterr().err.strip().partition("error: ")[2]
    assert 0 < len(text.splitlines()) <= 2
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("fit --trainer.max_epoch 3", "unknown option '--trainer.max_epoch'; did you mean --trainer.max_epochs?"),
        ("fit --modle MLP", "unknown option '--modle'; did you mean --model?"),
        ("fit --model.hiden 3", "unknown option --model.hiden (SmallCNN has optimizer, schedule,"),
        ("fit --model MLP --model.hiden [3]", "unknown option --model.hiden; did you mean hidden?"),
        ('fit --model.optimizer SGD --model.optimizer.lr={"a":1}', "unknown option --model.optimizer.lr.a"),
        ("fit --model resnet", "--model: there is no Model 'resnet'; did you mean ResNet?"),
        ("fit --model torch.nn.Conv2d", "--model: there is no Model 'torch.nn.Conv2d' (known: ConvNeXt,"),
        ("fit --model.optimizer torch.optim.Adm", "no Optimizer 'torch.optim.Adm'; did you mean Adam?"),
        ("fit --model.help Resnet", "there is no class 'Resnet'; did you mean ResNet?"),
        ("fit --data Digit", "--data: there is no DataModule 'Digit'; did you mean Digits?"),
        ("fit --data.batch_size many", "--data.batch_size takes int, not 'many'"),
        ("fit --model ResNet --model.variant 19", "--model.variant takes one of '18', '34', '50', not '19'"),
        ("fit --model.optimizer Adm", "--model.optimizer: there is no Optimizer 'Adm'; did you mean Adam?"),
        ("fit --model.optimizer.lrr 3", "unknown option --model.optimizer.lrr; did you mean lr?"),
        ("fit --model.optimiser.lr 1", "unknown option --model.optimiser; did you mean optimizer?"),
        ("fit --model.loss.label_smoothing x", "--model.loss.label_smoothing takes float, not 'x'"),
        ("fit --trainer.max_epochs x", "--trainer.max_epochs takes int or null, not 'x'"),
        ("fit --config configs/model/restnet18.yaml", "does not exist; did you mean resnet18.yaml?"),
        ("fit --ckpt_path no.ckpt", "checkpoint no.ckpt does not exist"),
        ("test --run.experiment nothing", "train one with fit, or name one by --ckpt_path FILE"),
        ("fit --data ImageFolder --data.root nowhere", "--data.root 'nowhere' is not a folder"),
        ("fit --model StackingModule", "--model.bases must name at least one checkpoint"),
        ("fit --model VGG", "smallest that works is 32x32: set --model.input_size 32 or more"),
        ("fit --run.name a/b", "--run.name must be a plain folder name"),
        ("fit --data.batch_size 0", "--data.batch_size must be at least 1"),
        ("fit --best_checkpoint.monitor val/acuracy", "not 'val/acuracy'; did you mean val/accuracy?"),
        ("fit --best_checkpoint.monitor train/loss", "must be a validation metric, not 'train/loss'"),
        ("fit --trainer.default_root_dir x", "choose it by --run.root and --run.name"),
        ("fiit", "unknown command 'fiit'; did you mean fit?"),
    ],
)
def test_message__names_the_option_and_the_way_out(args, expected, capsys, tmp_path):
    command = args.split()
    options = {} if command[0] == "fiit" else {"root": tmp_path}
    assert run(*command, quick=False, **options) == 2
    assert expected in message(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("trainer: {max_epoch: 3}", "unknown key 'trainer.max_epoch' in a config; did you mean trainer.max_epochs?"),
        ("model: {class_path: MLP, init_args: {hiden: [3]}}", "unknown option --model.hiden; did you mean hidden?"),
        ("modle: 3", "unknown key 'modle' in a config; did you mean model?"),
        ("data: [1", "a.yaml, line 2: did not find expected ',' or ']'"),
        ("- data", "a.yaml, line 1: the file must hold options by name"),
        ("data: Digits\ndata: CIFAR10", "a.yaml, line 2: the key 'data' comes twice"),
        (
            "run: {name: 12e4}",
            "--run.name takes text, and without quotes YAML takes yours for the number 120000.0: put",
        ),
        ("data: {class_path: Manifest, init_args: {class_names: [no, yes]}}", "--data.class_names takes text, and "),
    ],
)
def test_message__of_a_config(content, expected, capsys, tmp_path):
    (tmp_path / "a.yaml").write_text(content)
    assert run("fit", "--config", tmp_path / "a.yaml", quick=False) == 2
    assert expected in message(capsys)


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


def test_explain__a_mistake_of_ours_says_so():
    told = explain(raised(RuntimeError("first\nsecond\nthird")))
    assert told.splitlines()[0].startswith("internal error")
    assert told.splitlines()[0].endswith(": first")
    assert told.splitlines()[1].startswith("this is a fault of francesinha, not yours")
    assert explain(KeyError()).startswith("internal error: no reason is given")
    assert explain(ValueError("plain")) == "plain"


def test_explain__an_error_of_the_system_without_its_number():
    assert explain(raised(FileNotFoundError(2, "No such file or directory", "a.png"))) == (
        "a.png: No such file or directory"
    )
    assert explain(OSError("in our words")) == "in our words"


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "make room there, or choose another folder"),
        (errno.EFBIG, "raise the limit of a file's size (ulimit -f)"),
        (errno.EROFS, "choose a folder that can be written to"),
        (errno.EMFILE, "raise the limit of open files, as by ulimit -n 4096"),
    ],
)
def test_explain__what_the_system_refuses_has_a_way_out(number, way):
    bare = OSError(number, os.strerror(number))
    assert explain(raised(bare)).startswith(f"{os.strerror(number)}; {way}")
    # also where the file was named by ours
    with pytest.raises(OSError, match="could not be written") as caught, naming(Path("a.csv")):
        raise bare
    assert explain(caught.value).startswith(f"a.csv could not be written: {os.strerror(number)}; {way}")


def test_explain__the_number_of_a_library_that_is_not_pythons():
    with pytest.raises(OSError, match="could not be written") as caught, naming(Path("a.safetensors")):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert explain(caught.value).startswith("a.safetensors could not be written: No space left on device; make room")


def test_nearest__nothing_alike_suggests_nothing():
    assert nearest("zzz", ["fit", "test"]) == ""
    assert nearest(0.5, ["fit", "test"]) == ""


def test_explain__what_a_device_lacks_names_the_precision():
    error = raised(NotImplementedError("\"compute_indices_weights\" not implemented for 'Half'"))
    assert "use --trainer.precision 32-true or bf16-mixed" in explain(error)
    assert "internal error" not in explain(error)


def test_explain__what_lightning_refuses_while_it_runs(tmp_path):
    stopping = EarlyStopping("val/none", check_on_train_epoch_end=True)
    fitting = trainer(tmp_path, max_epochs=1, callbacks=[stopping], enable_checkpointing=False)
    data = Blobs()
    with pytest.raises(RuntimeError) as caught:
        fitting.fit(Linear(data_info=data.info), datamodule=data)
    assert explain(caught.value).startswith("Early stopping conditioned on metric `val/none` which is not available")


def test_wrong_value__an_option_below_one_that_has_none():
    message = "Expected a <class 'float'>. Got value: Namespace(inf=1.0)"
    assert wrong_value("heads.C", message) == "--heads.C takes float, and has no options such as --heads.C.inf"


def test_explain__a_key_beside_that_of_a_class(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(
        "model: {class_path: MLP, init_args: {optimizer: {A: torch.optim.SGD, init_args: {lr: 0.1}}}}"
    )
    assert run("fit", "--config", tmp_path / "a.yaml", root=tmp_path / "runs") == 2
    assert "--model.optimizer takes class_path and init_args, and not A" in capsys.readouterr().err
