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
# # From a table of runs to a plan
#
# You have trained some models: sizes `N`, batch sizes `B`, numbers of updates `K`, and the loss that each reached. What would a
# run a hundred times as large reach, and which one should it be?
#
# Here the runs are made by nqmjax itself, so that the truth is known: every model is a noisy quadratic whose first `N`
# directions are learnt, trained by SGD with a cosine schedule and computed exactly; half a per cent of noise stands for seeds.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import nqmjax as nq
from nqmjax.runs import LAWS, QuadraticLaw

p, q, rate, every = 1.35, 0.9, 0.5, np.arange(1, 300_001)


def true_loss(size, batch, steps):
    known, rest = every[:size], every[size:]
    curvature = known**-q
    problem = nq.NoisyQuadratic(
        curvature, curvature, known**-p / curvature, np.ones(size), irreducible=1.5 + 0.5 * np.sum(rest**-p)
    ).quantize(300)
    return nq.run(problem, nq.SGD(0.1), nq.schedules.cosine(rate, steps, batch, warmup=0.01, pieces=24))[-1]


rng = np.random.default_rng(0)
rows = []
for budget in (1e8, 4e8, 1.6e9, 6.4e9):
    for size in (300, 1000, 3000, 10_000):
        for batch in (8, 32, 128):
            if 60 <= (steps := round(budget / size / batch)) <= 60_000:
                rows.append((size, batch, steps, budget, true_loss(size, batch, steps) * np.exp(0.005 * rng.normal())))
table = pd.DataFrame(rows, columns=["N", "B", "K", "C", "loss"])
table.head()

# %% [markdown]
# ## Read the table
#
# Every row is checked; what is excluded, and why, stays with the result. Runs of like compute are one budget.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "runs.csv")
    table.to_csv(path, index=False)
    runs = nq.runs.read(path)
print(runs)

# %% [markdown]
# ## Fit
#
# `fit(runs)` tries the laws that did best on real Adam runs. These runs are SGD's, so let us add a law of plain SGD, whose
# options are named in `nqmjax.runs.laws.quadratic`, and compare. Each law is fitted from many starts, to all runs and with
# budgets left out.

# %%
laws = {"sgd": QuadraticLaw(adaptive=False, noise_by_size=0.0), "adam": LAWS["adam"], "chinchilla": LAWS["chinchilla"]}
model = nq.runs.fit(runs, laws, starts=16, progress=False)
model.scores.to_dataframe()

# %% [markdown]
# `budget_out` and `forward` are mean squared errors of the log loss on runs that were left out: one budget, or all larger ones.
# The last row is the model: the mean of all laws that are not far behind the best.
#
# ## What the runs tell, and what they do not
#
# Parameters that the runs do not tell apart from what was believed before are marked, and should not be quoted.

# %%
nq.runs.identification(model.laws[0]).to_dataframe()

# %% [markdown]
# ## Predict beyond the data
#
# Up to a hundred times the largest compute, with 90% intervals, against the truth.

# %%
steps = np.geomspace(1e3, 3e5, 8).round().astype(int)
ask = nq.runs.predict(model, 30_000, 64, steps)
truth = [true_loss(30_000, 64, int(count)) for count in steps]
figure, axes = plt.subplots(figsize=(6, 4))
axes.fill_between(ask.beyond, ask.lower, ask.upper, alpha=0.3, label="90% interval")
axes.plot(ask.beyond, ask.loss, "-", label="predicted")
axes.plot(ask.beyond, truth, "ko", fillstyle="none", label="truth")
axes.axvline(1, color="0.6", linestyle=":", label="largest run seen")
axes.set(xscale="log", xlabel="compute over the largest seen", ylabel="loss")
axes.legend()
plt.show()

# %% [markdown]
# ## Another schedule
#
# Laws that follow the schedule answer for others too: here warm-up, stable, decay, and any `Plan`, batch ramps included.

# %%
wsd = nq.runs.RunSchedule("wsd", warmup=0.01, options=(("cooldown", 0.2),))
ramp = nq.Plan([1.0, 1.0, 0.3, 0.1], steps=[10_000, 5000, 3000, 2000], batch_size=[32, 64, 128, 256])
pd.DataFrame(
    {
        "cosine": nq.runs.predict(model, 10_000, 64, 20_000).loss.values,
        "wsd": nq.runs.predict(model, 10_000, 64, 20_000, schedule=wsd).loss.values,
        "ramp": nq.runs.predict(model, 10_000, plan=ramp).loss.values,
    },
    index=["loss"],
)

# %% [markdown]
# ## Plan
#
# An hour, at two milliseconds a step and a little more for each parameter and example; no more examples than there are.

# %%
limits = nq.runs.Limits(seconds=3600, step_seconds=nq.runs.StepTime(fixed=2e-3, per_work=2e-9), examples=5e7)
best = nq.runs.plan(model, limits, progress=False)
best.best[["model_size", "batch_size", "steps", "loss", "lower", "upper", "seconds", "examples", "outside"]].to_pandas()

# %% [markdown]
# What each limit costs: the share of it that is used, and the loss if there were twice as much. And how flat the optimum is:
# the ranges that cost at most 1% of loss.

# %%
print(best.flat)
best.prices.to_dataframe()

# %% [markdown]
# ## The critical batch size along the loss
#
# Where a run of 10,000 parameters needs 20% more examples than at the batch size that needs the fewest, at the peak rate of the
# runs; "at most" where the batch sizes seen show no more than a bound.

# %%
nq.runs.critical_batch_sizes(model, 10_000)[["critical_batch_size", "bound"]].to_dataframe()
