"""What a model answers and what it is compared with: a pattern, or the potential behind one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lacbed.learn.equivalence import aligned, canonical, resampled


def answer_of(output: Mapping[str, Tensor]) -> Tensor:
    """The images that a model was asked for: (B, T, m, m)."""
    return (output["potential"] if "potential" in output else output["pattern"]).float()


def truth_of(output: Mapping[str, Tensor], batch: Mapping[str, Tensor], learning: bool = False) -> Tensor:
    """The images that the answer should be: (B, T, m, m).

    A pattern is what it is. Of a potential there are many that give the same pattern: a model learns the
    representative (`canonical`), and is judged by the one nearest to its answer (`aligned`), at its resolution.

    Args:
        output: of the model.
        batch: what it was given.
        learning: whether weights are to change by it.
    """
    if "potential" not in output:
        return batch["pattern"]
    answer = answer_of(output)
    potential = resampled(batch["potential"].float(), answer.shape[-1])
    return canonical(potential).expand_as(answer) if learning else aligned(potential, answer)
