"""A test split drawn from the training samples, where the images bring none."""

from common.options import configurable, option
from common.ranges import check_range
from datamodules.image_data import ImageDataModule
from datamodules.samples import Samples
from datamodules.splits import content_holdout


@configurable
class HeldTest(ImageDataModule):
    """Images that may bring a test split or not.

    Args:
        test_fraction: share of the images held out as the test split, stratified; ignored where the data set brings
            one, or where `held_out` is test
        test_stratified: draw the test split with the same share of every class; false draws it by the content of the
            images alone, so that the same images with other labels get the same test images
    """

    test_fraction: float = option(0.2, "split")
    test_stratified: bool = option(True, "split")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--data.test_fraction", self.test_fraction, "[0, 1)")
        if not self.test_stratified and self.split_version == 1:
            raise ValueError("--data.test_stratified false draws by content: it needs --data.split_version 2")

    @property
    def test_is_drawn(self) -> bool:
        """Whether another `split_seed` may draw other test samples; not known before the data is read."""
        return super().test_is_drawn or self.test_fraction > 0

    def with_test(
        self, train: Samples, given: Samples | None, class_names: list[str]
    ) -> tuple[Samples, Samples | None]:
        """Return training and test samples; the latter are drawn where none are given and some are asked for.

        Args:
            train: to draw from
            given: the data's own test samples
            class_names: for error messages
        """
        if given is not None or not self.test_fraction or self.held_out == "test":
            return train, given
        if self.test_stratified:
            rest, drawn = self.draw(train, [self.test_fraction], class_names)
            return rest, drawn
        how = self.drawn_by(train)
        rest_rows, drawn_rows = content_holdout(self.test_fraction, self.split_seed, how["keys"], how["groups"])
        if not len(drawn_rows):
            raise ValueError(
                f"--data.test_stratified false leaves no image of {len(train)} to the test: raise "
                f"--data.test_fraction {self.test_fraction:g}, or draw it stratified"
            )
        return train.subset(rest_rows), train.subset(drawn_rows)
