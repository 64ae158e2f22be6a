"""Updates replayed as a CUDA graph: the host hands their operations over once, not every time.

    first updates of a turn    made as always, while libraries and compiler set themselves up
    the next one               recorded: its operations, and the places that they read and write
    it and all after it        what is new is copied to where it is read from; then replayed

New is the batch, what the optimiser counts (`optim.Numbers`) and the noise, whose generator the
graph moves on. All else lies in parameters, averages and buffers, which are written in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.agent import Agent
from dreamer_plugin.optim import Numbers
from dreamer_plugin.updating import Turn, Updated

WARM_UP = 3  # updates before one is recorded

Work = Callable[[], Updated]


class Recorder(Protocol):
    """Makes, records and replays one piece of work."""

    def warm_up(self, work: Work) -> Updated:
        """Do it, not recorded, as it will be when it is."""

    def record(self, work: Work) -> Updated:
        """Note its operations without doing them; what they would give, in fixed places."""

    def replay(self) -> None:
        """Do what was recorded."""


class CudaGraph:
    """A graph of torch's, for work that draws from one generator.

    Args:
        generator: of the device that works.
        beside: whose stream and memory it shares, as the two are never replayed at once.
    """

    def __init__(self, generator: torch.Generator, beside: CudaGraph | None = None) -> None:
        self._device = generator.device
        with torch.cuda.device(self._device):
            self._stream: Any = beside._stream if beside else torch.cuda.Stream()
            self._pool: Any = beside._pool if beside else torch.cuda.graph_pool_handle()
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(generator)

    def warm_up(self, work: Work) -> Updated:
        """See `Recorder`."""
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                updated = work()
            torch.cuda.current_stream().wait_stream(self._stream)
        return updated

    def record(self, work: Work) -> Updated:
        """See `Recorder`; other threads may use the device meanwhile."""
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(self._graph, self._pool, self._stream, "thread_local"),
        ):
            return work()

    def replay(self) -> None:
        """See `Recorder`."""
        with torch.cuda.device(self._device):
            self._graph.replay()


class GraphedUpdates:
    """In the place of `Agent.updating`; one graph for each kind of turn and shape of batch.

    Graphs hold the places of parameters, averages and generator. Where those are other ones than
    before, as after loading or moving the agent, it begins anew. Numbers of the agent's settings
    are recorded with it.

    Args:
        recorder: makes what records, from the agent's generator and one made before, if any.
    """

    def __init__(self, recorder: Callable[..., Recorder] = CudaGraph) -> None:
        self._recorder = recorder
        self._places: list[int] = []
        self._generator: torch.Generator | None = None
        self._graphs: dict[Any, _Graph] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies begin anew: they are of another agent."""
        return GraphedUpdates, (self._recorder,)

    def __call__(
        self, agent: Agent, batch: TensorDict, turn: Turn, numbers: Sequence[Numbers]
    ) -> Updated:
        """See `Agent.update_on_device`; what is returned stays as it is after the next update."""
        places = [tensor.data_ptr() for tensor in _lasting(agent)]
        if places != self._places or agent.generator is not self._generator:
            self._graphs.clear()
            self._places, self._generator = places, agent.generator
        leaves = batch.items(include_nested=True, leaves_only=True)
        kind = turn, tuple((key, value.shape, value.dtype) for key, value in leaves)
        if kind not in self._graphs:
            beside = next((each.recorder for each in self._graphs.values()), None)
            recorder = self._recorder(agent.generator, beside)
            self._graphs[kind] = _Graph(recorder, batch, torch.tensor(numbers, device=agent.device))
        made = agent.updates
        try:
            return self._graphs[kind](agent, batch, turn, numbers)
        except BaseException:  # nothing half recorded is gone on with
            del self._graphs[kind]
            agent.optimizer.updates = made
            raise


class _Graph:
    """Updates of one kind.

    Args:
        recorder: of its own. batch: as large as all that will come. numbers: `[groups, 4]`.
    """

    def __init__(self, recorder: Recorder, batch: TensorDict, numbers: Tensor) -> None:
        self.recorder, self._batch, self._numbers = recorder, batch.clone(), numbers
        self._made = 0
        self._recorded: Updated | None = None

    def __call__(
        self, agent: Agent, batch: TensorDict, turn: Turn, numbers: Sequence[Numbers]
    ) -> Updated:
        self._batch.update_(batch)
        self._numbers.copy_(torch.tensor(numbers))
        rows = [Numbers(*row.unbind()) for row in self._numbers]

        def work() -> Updated:
            return agent.update_on_device(self._batch, turn, rows)

        if self._made < WARM_UP:
            self._made += 1
            return self.recorder.warm_up(work)
        if self._recorded is None:
            self._recorded = self.recorder.record(work)
        self.recorder.replay()
        return _kept(self._recorded)


def _kept(updated: Updated) -> Updated:
    """Values that the next replay does not overwrite."""
    values = torch.stack([value.float() for value in updated.metrics.values()]).unbind()
    metrics = dict(zip(updated.metrics, values, strict=True))
    return replace(updated, latents=updated.latents.clone(), metrics=metrics)


def _lasting(agent: Agent) -> Iterator[Tensor]:
    """What one update leaves to the next."""
    yield from agent.buffers()
    for param in agent.parameters():
        yield param
        slots = agent.optimizer.state.get(param, {})
        yield from (slots[name] for name in sorted(slots))
