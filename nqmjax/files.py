"""The names of `spectrum_files`, `observed`, `tables`, `writing` and `datasets` in one place."""

from nqmjax.datasets import load_dataset, save_dataset
from nqmjax.observed import read_observed
from nqmjax.spectrum_files import read_spectrum
from nqmjax.tables import input_file
from nqmjax.writing import check_output, check_suffix, write_atomically

__all__ = [
    "read_spectrum",
    "read_observed",
    "input_file",
    "check_suffix",
    "check_output",
    "write_atomically",
    "save_dataset",
    "load_dataset",
]
