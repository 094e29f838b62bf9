"""Steps to a target that somebody measured at several batch sizes, from tables."""

import os

import numpy as np

from nqmjax._tools import TEXT, Columns, input_file, read_table

COLUMNS = Columns(
    required=("batch_size", "steps"),
    known=("batch_size", "steps", "label"),
    aliases={
        "batch_size": ("batch", "batchsizes", "b", "bs", "globalbatchsize", "examplesperupdate"),
        "steps": ("step", "numsteps", "k", "updates", "iterations", "stepstotarget"),
        "label": ("labels", "name", "run", "group", "series", "optimizer"),
    },
    text=("label",),
)


def read_observed(path: str | os.PathLike) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Training runs that somebody measured: steps to a target at several batch sizes, to be laid over a figure.

    Args:
      path: a CSV file with the columns `batch_size` (examples per update), `steps` (updates) and, if there is more than one
        curve, `label`, or other common names of these. Other columns are ignored with a warning.

    Returns:
      a list of `(label, batch_sizes, steps)`, one for each label in the order of their first rows. Rows without a label take
      the file's name without its suffix.

    Raises:
      ValueError: the file is missing or no CSV, lacks a column, or an entry is not a positive number (batch sizes: at least 1).

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "runs.csv")
    ...     _ = path.write_text("label,batch_size,steps\\nAdam,64,900\\nSGD,64,2000\\nAdam,128,500\\n")
    ...     read_observed(path)
    [('Adam', array([ 64., 128.]), array([900., 500.])), ('SGD', array([64.]), array([2000.]))]
    """
    path = input_file(path, *TEXT)
    table = read_table(path, COLUMNS)
    table.check("batch_size", lambda values: values >= 1, "give examples per update, at least 1")
    table.check("steps", lambda values: values > 0, "give a positive number of updates")
    batch_sizes, steps = table.columns["batch_size"], table.columns["steps"]
    labels = np.array([label or path.stem for label in table.columns.get("label", [""] * len(steps))])
    chosen = {label: labels == label for label in dict.fromkeys(labels.tolist())}
    return [(label, batch_sizes[here], steps[here]) for label, here in chosen.items()]
