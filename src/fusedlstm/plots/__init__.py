"""Pictures for reports, through matplotlib: ``pip install "fusedlstm[plot]"``.

Each function returns the matplotlib Figure. With `path` it is written to that file, in the format that the ending
names; without, it is pyplot's, whose ``show()`` shows it. `ax` takes Axes of one's own to draw into instead.
"""

from fusedlstm.plots.confusion import confusion_matrix
from fusedlstm.plots.forecasts import forecast
from fusedlstm.plots.training import history, step_losses

__all__ = ["confusion_matrix", "forecast", "history", "step_losses"]
