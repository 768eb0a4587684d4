"""Models of tables: logistic and linear regression, or an MLP."""

from common.options import configurable
from lightning_modules.regressor import Regressor
from lightning_modules.table_model import TableModel
from lightning_modules.trained_classifier import TrainedClassifier


@configurable
class TableClassifier(TableModel, TrainedClassifier):
    """Logistic regression on a table's columns, or an MLP by `hidden`."""


@configurable
class TableRegressor(Regressor, TableModel):
    """Linear regression on a table's columns, or an MLP by `hidden`, for data with `task` regression."""
