"""Maps against the truth: confusion matrix, published metrics, a plot."""

from gigafcn.evaluate.plot import write_plot
from gigafcn.evaluate.scoring import Evaluation, evaluate_map

__all__ = ["Evaluation", "evaluate_map", "write_plot"]
