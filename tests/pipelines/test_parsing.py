from pipelines.parsing import given_checkpoint, in_order


def test_in_order__configs_then_classes_then_their_options():
    args = ["fit", "--model.optimizer.lr=1", "--a", "-1", "-c", "x.yaml", "--model.optimizer", "SGD", "--config=y.yaml"]
    assert in_order(args) == [
        "fit",
        "-c",
        "x.yaml",
        "--config=y.yaml",
        "--a",
        "-1",
        "--model.optimizer",
        "SGD",
        "--model.optimizer.lr=1",
    ]


def test_in_order__options_of_several_callbacks_stay_with_theirs():
    args = ["fit", "--trainer.callbacks+=A", "--trainer.callbacks.monitor=m", "--trainer.callbacks+=B"]
    assert in_order(args) == args


def test_given_checkpoint__the_last_one_wins():
    assert given_checkpoint(["fit", "--ckpt_path", "last"]) == "last"
    assert given_checkpoint(["fit", "--ckpt_path=a.ckpt", "--ckpt_path", "b.ckpt"]) == "b.ckpt"
    assert given_checkpoint(["fit"]) is None
