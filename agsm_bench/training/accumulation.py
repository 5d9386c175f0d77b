"""The gradient of an optimiser step: the mean over several batches, whichever processes work on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from agsm_bench.parallel import Processes
from agsm_bench.training.job import Task

Gradients = list[Tensor | None]


def accumulate(task: Task, backward: Callable[[Tensor], None], processes: Processes, step: int) -> dict[str, float]:
    """Gives the trained parameters the gradient of a step (from 0), and returns its loss and diagnostics.

    Batch k of N is what the step `step x N + k` of a run without accumulation sees: pairs, timestep and noise. Each
    process works on N / count batches; every batch's gradient is kept by itself and they are summed in the batches'
    order, so the result is the same to the last bit for any number of processes.
    """
    count = task.job.options.accumulate
    own = count // processes.count
    first = step * count + processes.rank * own
    parameters = list(task.trained.values())
    records, gradients = [], []
    for batch in range(first, first + own):
        loss, diagnostics = task.loss(batch)
        backward(loss)
        records.append({"loss": loss.item(), **diagnostics})
        gradients.append(_taken(parameters))
    _set_means(parameters, gradients, processes)
    return mean_record([record for part in processes.gather(records) for record in part])


def mean_record(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every entry, over the records that have it."""
    if len(records) == 1:
        return dict(records[0])
    found = {key: [record[key] for record in records if key in record] for each in records for key in each}
    return {key: sum(values) / len(values) for key, values in found.items()}


def _taken(parameters: Sequence[nn.Parameter]) -> Gradients:
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return gradients


def _set_means(parameters: Sequence[nn.Parameter], gradients: Sequence[Gradients], processes: Processes) -> None:
    """One parameter at a time: fine-tuning all weights, every process's gradients at once would not fit."""
    for index, parameter in enumerate(parameters):
        own = [batch[index] for batch in gradients]
        used = [gradient for gradient in own if gradient is not None]
        if used:  # what a loss does not use, it uses in no batch
            rows = processes.gather_rows(torch.stack(used))
            parameter.grad = sum(rows[1:], rows[0]) / len(rows)
