"""Tools that know of no problem: checks of arguments, precision, progress, devices, tables, files, text, names loaded late."""

from typing import TYPE_CHECKING

from nqmjax._tools.lazy import exports

if TYPE_CHECKING:
    from nqmjax._tools.checks import (
        check_batch_size,
        check_choice,
        check_dtype,
        check_loss,
        check_steps,
        check_target,
        check_values,
        is_traced,
        labels,
        no_choice,
        numeric,
        require,
        scalar,
        shown,
        whole,
    )
    from nqmjax._tools.compilation_cache import VARIABLE, cache_by_environment, forget, use_compilation_cache
    from nqmjax._tools.cores import on_all_cores
    from nqmjax._tools.csv_text import Rows
    from nqmjax._tools.datasets import ENGINE, load_dataset, save_dataset
    from nqmjax._tools.devices import FirstAlone, Workers, local_devices
    from nqmjax._tools.eigenvalues import ROUND_OFF, clear_round_off, logarithmic_bins
    from nqmjax._tools.numerals import parse_number
    from nqmjax._tools.precision import evaluate, own_arithmetic, precision
    from nqmjax._tools.progress import COUNTED, at_work, progress_bar
    from nqmjax._tools.tables import (
        TEXT,
        Columns,
        Table,
        cell_name,
        header_and_rows,
        input_file,
        parse_columns,
        read_table,
        reading,
        warn_caller,
        warn_of_unused,
    )
    from nqmjax._tools.text import plain_exponent
    from nqmjax._tools.writing import TEMPORARY, as_path, check_output, check_suffix, write_atomically, write_durably

exports(
    __name__,
    internal={
        "checks": [
            "check_batch_size",
            "check_choice",
            "check_dtype",
            "check_loss",
            "check_steps",
            "check_target",
            "check_values",
            "is_traced",
            "labels",
            "no_choice",
            "numeric",
            "require",
            "scalar",
            "shown",
            "whole",
        ],
        "compilation_cache": ["VARIABLE", "cache_by_environment", "forget", "use_compilation_cache"],
        "cores": ["on_all_cores"],
        "csv_text": ["Rows"],
        "datasets": ["ENGINE", "load_dataset", "save_dataset"],
        "devices": ["FirstAlone", "Workers", "local_devices"],
        "eigenvalues": ["ROUND_OFF", "clear_round_off", "logarithmic_bins"],
        "numerals": ["parse_number"],
        "precision": ["evaluate", "own_arithmetic", "precision"],
        "progress": ["COUNTED", "at_work", "progress_bar"],
        "tables": [
            "Columns",
            "TEXT",
            "Table",
            "cell_name",
            "header_and_rows",
            "input_file",
            "parse_columns",
            "read_table",
            "reading",
            "warn_caller",
            "warn_of_unused",
        ],
        "text": ["plain_exponent"],
        "writing": ["TEMPORARY", "as_path", "check_output", "check_suffix", "write_atomically", "write_durably"],
    },
)
