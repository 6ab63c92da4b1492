"""Several processes that train one model: what each does of a step, and how they agree. Importing it is cheap."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from recdl.errors import RecordError

if TYPE_CHECKING:
    import torch


_LARGE = 1 << 18
"""Elements of a tensor that is worth a message of its own."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, and which of them this is.

    Attributes:
        rank: This one's, from 0; 0 alone writes.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Self:
        """Return those that `recdl.training.joining.joined` brought together; one, where nothing did."""
        from torch import distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """Let the first do what is in the block, and the others after it, who then find it done."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wait(self) -> None:
        """Go on when all have come this far.

        Raises:
            RecordError: If one has ended, as all that follows does.
        """
        if self.count == 1:
            return
        from torch import distributed

        with _told_of_ends():
            distributed.barrier()

    def told(self, value: Any) -> Any:
        """Return the first's value, whatever the others have."""
        if self.count == 1:
            return value
        from torch import distributed

        held = [value]
        with _told_of_ends():
            distributed.broadcast_object_list(held, src=0)
        return held[0]

    def gathered(self, value: Any) -> list[Any]:
        """Return every process's value, by rank."""
        if self.count == 1:
            return [value]
        from torch import distributed

        values = [None] * self.count
        with _told_of_ends():
            distributed.all_gather_object(values, value)
        return values

    def add_up(self, tensors: "Sequence[torch.Tensor]") -> None:
        """Put the sum over all processes into each tensor, the same to the bit in all of them."""
        if self.count == 1:
            return
        import torch
        from torch import distributed

        small = [tensor for tensor in tensors if tensor.numel() < _LARGE]
        with _told_of_ends():
            for tensor in tensors:
                if tensor.numel() >= _LARGE:
                    distributed.all_reduce(tensor)
            # Together, since a message takes as long as a hundred kilobytes.
            for dtype in dict.fromkeys(tensor.dtype for tensor in small):
                alike = [tensor for tensor in small if tensor.dtype == dtype]
                joined = torch.cat([tensor.flatten() for tensor in alike])
                distributed.all_reduce(joined)
                parts = torch.split(joined, [tensor.numel() for tensor in alike])
                for tensor, part in zip(alike, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def share(self, n: int) -> slice:
        """Return the part of n rows, in their order, that is this one's."""
        return part(n, self.rank, self.count)


@contextmanager
def _told_of_ends() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # which is all that torch says of a connection that was closed
        first_line = str(error).partition("\n")[0]
        raise RecordError(f"another process of the run has ended, and so does this one ({first_line})") from error


def part(n: int, place: int, count: int) -> slice:
    """Return one of `count` parts of n rows, in their order, as even as can be; some are empty where n is less."""
    return slice(n * place // count, n * (place + 1) // count)
