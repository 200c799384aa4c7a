"""Mean and standard error of tensors that arrive one after another."""

import torch


class RunningMean:
    """Welford's update: numerically stable, holds two tensors.

    >>> running = RunningMean()
    >>> for value in (1.0, 2.0, 3.0):
    ...     running.add(torch.tensor(value))
    >>> running.mean.item(), round(running.standard_error().item(), 4)
    (2.0, 0.5774)
    """

    def __init__(self) -> None:
        """Starts empty."""
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, sample: torch.Tensor) -> None:
        """Takes one more sample in."""
        self.count += 1
        if self.count == 1:
            self.mean, self._squares = sample.clone(), torch.zeros_like(sample)
            return
        away = sample - self.mean
        self.mean = self.mean + away / self.count
        self._squares = self._squares + away * (sample - self.mean)

    def standard_error(self) -> torch.Tensor | None:
        """Returns the standard deviation of the mean; nothing below two samples, which show no spread."""
        if self.count < 2:
            return None
        return (self._squares / (self.count - 1) / self.count).sqrt()
