"""A stand-in for a program that Unity built: the other end of ML-Agents' gRPC, following a script.

    python tests/envs/unity_peer.py SCRIPT.json ... --mlagents-port PORT

ML-Agents' Python side is the server. The program calls `Exchange` again and again; each call hands
over what happened and returns what to do next, until the status is not 200. It runs in a Python
with mlagents_envs, whose messages it uses. Nothing here knows Unity itself.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any

import grpc
from mlagents_envs.communicator_objects import (
    agent_info_pb2,
    brain_parameters_pb2,
    command_pb2,
    observation_pb2,
    unity_message_pb2,
    unity_rl_initialization_output_pb2,
    unity_rl_output_pb2,
    unity_to_external_pb2_grpc,
)

OK = 200
BEHAVIOR = "Walker?team=0"
DEFAULTS: dict[str, Any] = {
    "agents": 1,
    "cameras": [],  # shapes
    "continuous": 0,
    "branches": [],
    "length": 5,  # steps of an episode
    "interrupted": False,  # whether a limit of time ends it
    "silent": 0,  # steps in which the agent asks for nothing, after each decision
    "dies_at": None,  # step at which the program ends
}


class Scene:
    """What happens in the scene."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = {**DEFAULTS, **script}
        self.seed, self.scale, self.time, self.quiet = 0, 0.0, 0, 0
        self.reward = 0.0

    def run(self, stub: Any) -> None:
        said = unity_message_pb2.UnityMessageProto()
        said.unity_output.rl_initialization_output.CopyFrom(self._about(with_brain=False))
        answer = self._exchange(stub, said)
        self.seed = answer.unity_input.rl_initialization_input.seed
        answer = self._exchange(stub, unity_message_pb2.UnityMessageProto())
        first = True
        while answer.header.status == OK:
            said = unity_message_pb2.UnityMessageProto()
            said.unity_output.rl_output.CopyFrom(self._obey(answer.unity_input.rl_input))
            if first:
                said.unity_output.rl_initialization_output.CopyFrom(self._about(with_brain=True))
            first = False
            answer = self._exchange(stub, said)

    def _exchange(self, stub: Any, said: Any) -> Any:
        said.header.status = OK
        return stub.Exchange(said)

    def _about(self, with_brain: bool) -> Any:
        spec = brain_parameters_pb2.ActionSpecProto(
            num_continuous_actions=self.script["continuous"],
            num_discrete_actions=len(self.script["branches"]),
            discrete_branch_sizes=self.script["branches"],
        )
        brain = brain_parameters_pb2.BrainParametersProto(
            brain_name=BEHAVIOR, is_training=True, action_spec=spec
        )
        about = unity_rl_initialization_output_pb2.UnityRLInitializationOutputProto(
            name="stand-in", communication_version="1.5.0", package_version="2.0.0",
            brain_parameters=[brain] if with_brain else [],
        )  # fmt: skip
        about.capabilities.baseRLCapabilities = True
        return about

    def _obey(self, order: Any) -> Any:
        told = order.side_channel
        # The engine's channel sends numbers of settings and floats; 2 is the time scale.
        for at in range(len(told) - 7):
            kind, value = struct.unpack_from("<if", told, at)
            if kind == 2 and value >= 1:
                self.scale = value
        if order.command == command_pb2.RESET:
            self.time = self.quiet = 0
            self.reward = 0.0
            return self._infos([self._info(i) for i in range(self.script["agents"])])
        if self.quiet:  # the agent moves on by itself
            self.quiet -= 1
            return self._infos([] if self.quiet else [self._info(0)])
        action = order.agent_actions[BEHAVIOR].value[0]
        self.reward = sum(action.continuous_actions) + sum(action.discrete_actions)
        self.time += 1
        if self.time == self.script["dies_at"]:
            os._exit(3)
        if self.time == self.script["length"]:
            ended = self._info(0, done=True)
            self.time, self.reward = 0, 0.0
            return self._infos([ended, self._info(0)])  # and the next episode begins
        self.quiet = self.script["silent"]
        return self._infos([] if self.quiet else [self._info(0)])

    def _infos(self, infos: list[Any]) -> Any:
        output = unity_rl_output_pb2.UnityRLOutputProto()
        output.agentInfos[BEHAVIOR].value.extend(infos)
        return output

    def _info(self, agent: int, done: bool = False) -> Any:
        return agent_info_pb2.AgentInfoProto(
            reward=self.reward, done=done, id=agent,
            max_step_reached=done and self.script["interrupted"],
            observations=[*map(self._picture, self.script["cameras"]), self._numbers()],
        )  # fmt: skip

    def _picture(self, shape: list[int]) -> Any:
        count = shape[0] * shape[1] * shape[2]
        return _floats("camera", shape, [min(self.time / 10, 1.0)] * count)

    def _numbers(self) -> Any:
        return _floats("numbers", [3], [self.time, self.seed, self.scale])


def _floats(name: str, shape: list[int], values: list[float]) -> Any:
    data = observation_pb2.ObservationProto.FloatData(data=values)
    kind = observation_pb2.NONE
    return observation_pb2.ObservationProto(
        name=name, shape=shape, compression_type=kind, float_data=data
    )


def main() -> None:
    with open(sys.argv[1]) as file:
        script = json.load(file)
    port = sys.argv[sys.argv.index("--mlagents-port") + 1]
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        stub = unity_to_external_pb2_grpc.UnityToExternalProtoStub(channel)
        try:
            Scene(script).run(stub)
        except grpc.RpcError:
            pass  # the other side is gone


if __name__ == "__main__":
    main()
