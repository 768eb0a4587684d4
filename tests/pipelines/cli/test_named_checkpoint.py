from pipelines.cli.named_checkpoint import given_checkpoint


def test_given_checkpoint__the_last_one_wins():
    assert given_checkpoint(["fit", "--ckpt_path", "last"]) == "last"
    assert given_checkpoint(["fit", "--ckpt_path=a.ckpt", "--ckpt_path", "b.ckpt"]) == "b.ckpt"
    assert given_checkpoint(["fit"]) is None
