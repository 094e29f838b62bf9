# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Schedules
#
# Cosine, linear or WSD, how long a cooldown, and when to raise the batch? On the problem of Zhang et al. 2019 (curvature
# $h_i = 1/i$ in 10,000 directions), for SGD at batch size 64 and 17,000 updates.

# %%
import matplotlib.pyplot as plt
import numpy as np

from nqmjax import SGD, optimize_schedule, power_law, run, schedules
from nqmjax.schedules import closed_form_rates, compare, optimal_batch_sizes

problem, optimizer = power_law(10_000).quantize(100), SGD(0.1)
batch_size, steps = 64, 17_000

# %% [markdown]
# ## Families
#
# Each family is tuned: its peak rate, where it ends and how long it cools down. A cooldown is what matters; a shape like
# `1 - sqrt` is within half a per cent of the best possible plan.

# %%
table = compare(problem, optimizer, batch_size, steps, tune_warmup=False, progress=False)
table[["risk", "excess_over_optimal", "efficiency", "learning_rate", "cooldown", "final"]].to_dataframe()

# %% [markdown]
# The rates that these risks come from, against the share of the run:

# %%
for name in ("optimal", "wsd_sqrt", "wsd_linear", "cosine", "linear"):
    rates = table.learning_rates.sel(schedule=name)
    plt.semilogy(table.progress, rates.where(rates > 0), label=f"{name}, risk {float(table.risk.sel(schedule=name)):.4f}")
plt.xlabel("share of the run")
plt.ylabel("learning rate")
plt.legend()
plt.show()

# %% [markdown]
# ## The closed form
#
# While rates times curvatures are small, the best rates follow from a forgetting kernel: a gradient's noise counts by what is
# left of it at the end, so that rates are inverse to the root of that. It is the optimum where rates are small, and close to
# it elsewhere once it is capped.

# %%
small = power_law(100, initial=0.02)
closed = closed_form_rates(small, optimizer, batch_size=1, steps=2000, pieces=50)
best = optimize_schedule(small, optimizer, batch_size=1, steps=2000, pieces=50)
print(f"closed form {run(small, optimizer, closed)[-1]:.6f}, optimum {best.risk:.6f}")

# %% [markdown]
# ## Batch sizes
#
# For given rates the best batch sizes under a budget of examples are closed form too: small at first, when the noise will be
# forgotten, large at the end. Rates and batch sizes together do better than either alone.

# %%
rates_alone = optimize_schedule(problem, optimizer, batch_size, steps, pieces=10)
constant = schedules.constant(1.0, steps, batch_size).replace(steps=rates_alone.plan.steps)
batches_alone = optimal_batch_sizes(problem, optimizer, constant, examples=batch_size * steps)
together = optimize_schedule(problem, optimizer, batch_size, steps, pieces=10, examples=batch_size * steps)

ends = np.concatenate([[0], np.cumsum(rates_alone.plan.steps)])
for label, plan in {"batch sizes alone, rate 1": batches_alone, "together with the rates": together.plan}.items():
    plt.stairs(plan.batch_size, ends, baseline=None, label=f"{label}: risk {run(problem, optimizer, plan)[-1]:.4f}")
plt.axhline(batch_size, color="0.5", linestyle=":", label=f"rates alone: risk {rates_alone.risk:.4f}")
plt.yscale("log", base=2)
plt.xlabel("update")
plt.ylabel("batch size (examples)")
plt.legend()
plt.show()
