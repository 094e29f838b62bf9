"""`nqmjax figure`: figures of the paper."""

from cyclopts import App

from nqmjax import figures
from nqmjax._tools import check_choice
from nqmjax.cli.options import Force, Output
from nqmjax.cli.outputs import IMAGES, pair, watched, write_pair
from nqmjax.cli.reports import report, with_command

HELP = """\
Names, as in the paper (3a, fig3a and figure-3a are the same):

  1    loss of single directions with and without learning-rate decay
  2    convergence rate and final loss against momentum
  3a   updates to target against batch size, SGD and momentum
  3b   updates to target against batch size, constant rates and schedules
  3c   optimised learning-rate schedules by batch size
  4    updates to target against batch size, SGD with and without EMA
  14   tuned learning rates against batch size, SGD and momentum
  15   last rates of optimised schedules against batch size
  E.3  momentum against SGD at its effective learning rate
  E.5  updates to target against batch size, several targets
  regimes  two regimes under a budget of epochs (Smith et al. 2020)
  gao-3  first gradient against batch size (Gao & Zhong 2020)
  gao-4  updates of the first epoch against batch size (Gao & Zhong 2020)
  gao-5  updates by epoch, one rate and linear rule (Gao & Zhong 2020)
  gao-7  gains of the first epoch against batch size (Gao & Zhong 2020)
  gao-8  losses by epoch, one rate and linear rule (Gao & Zhong 2020)

  5    training runs: updates to target against batch size, four optimizers
  6    training runs: updates to target, SGD with and without EMA
  7    training runs: tuned learning rates against batch size, SGD and momentum
  8    training runs: updates to four training losses against batch size
  smith-1  training runs of as many epochs each (Smith et al. 2020)
  smith-table-1  training runs of as many updates each (Smith et al. 2020)
  smith-2  training runs: best rates by epochs (Smith et al. 2020)
  gao-10  training runs: small losses discarded (Gao & Zhong 2020)
  gao-11  training runs: loss, small first epoch (Gao & Zhong 2020)
  gao-12  training runs: accuracy, small first epoch (Gao & Zhong 2020)
  gao-16  training runs: accuracy with rates of layers (Gao & Zhong 2020)

Training runs are those of small networks, made by benchmarks/real_training.py;
their tables come with the package.

Examples:

  nqmjax figure 3a
  nqmjax figure E.3 -o momentum.pdf --force
"""


command = App(name="figure", help_epilogue=HELP)


@command.default
def run(
    name: str,
    /,
    *,
    output: Output = None,
    force: Force = False,
) -> None:
    """A figure of Zhang et al. 2019 or another paper, computed exactly or from training runs.

    Args:
      name: Which one; see below.
      output: File to write: .png, .pdf or .svg; its numbers stand beside it as .nc. [default: figure-NAME.png]
      force: Replace the file if it exists.
    """
    name = figures.find_figure(name)
    check_choice("the suffix of output", ".png" if output is None else output.suffix.lower(), IMAGES)
    image, data = pair(output, f"figure-{name}", force)
    chosen = figures.PAPER_FIGURES[name]
    table = with_command(chosen.table(watched()))
    write_pair(chosen.draw(table), table, image, data, force, report(f"Figure {name}: {chosen.description}", table.attrs))
