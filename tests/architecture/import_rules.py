"""Who may import whom. Each rule takes modules and returns one sentence per violation."""

from __future__ import annotations

from source_tree import Import, Module, imports

# A room may import rooms of a lower floor, and its own. The rooms of floor 0 count as one.
FLOORS = {
    "errors": 0, "keys": 0, "spaces": 0, "config": 0,
    "ops": 1,
    "nets": 2, "data": 2, "optim": 2, "updating": 2,
    "world": 3,
    "behavior": 4,
    "agent": 5, "ext": 5,
    "interop": 6, "build": 6, "compiling": 6, "graphs": 6,
    "run": 7,
    "study": 8,
    "doors": 9,
}  # fmt: skip
FACES = {"__init__", "__main__"}  # the public face and `python -m`: they open doors, lazily
TORCHRL_ROOMS = {"data", "interop", "run", "doors"}
OPTIONAL = {
    "ale_py", "brax", "bsuite", "cloudpickle", "craftax", "crafter", "cv2", "deepmind_lab",
    "dm_control", "envpool", "huggingface_hub", "hydra", "imageio_ffmpeg", "jax", "labmaze",
    "matplotlib", "memory_maze", "metaworld", "minari", "minerl", "minigrid", "mlagents_envs",
    "mujoco", "mujoco_playground", "nle", "procgen", "pygame", "ray", "rliable", "robosuite",
    "stable_baselines3", "wandb", "Xlib",
}  # fmt: skip


def floors(modules: list[Module]) -> list[str]:
    """Imports of a higher floor, or of a neighbour on the same floor."""
    wrong = []
    for module, found, room in _own(modules):
        if module.room in FACES:
            continue
        here, there = FLOORS.get(module.room), FLOORS.get(room)
        if here is None or there is None:
            wrong.append(f"{module.name}:{found.line}: {module.room} or {room} has no floor")
        elif room != module.room and (there > here or there == here > 0):
            wrong.append(f"{module.name}:{found.line}: floor {here} imports {room} ({there})")
    return wrong


def doors(modules: list[Module]) -> list[str]:
    """Imports of a door from anywhere but a door and the two faces."""
    return [
        f"{module.name}:{found.line}: imports a door"
        for module, found, room in _own(modules)
        if room == "doors" and module.room not in FACES | {"doors"}
    ]


def circles(modules: list[Module]) -> list[str]:
    """Modules that import each other, directly or on the way round."""
    names = {module.name for module in modules}
    graph = {
        module.name: {_owner(found.target, names) for found in imports(module)}
        - {None, module.name}
        for module in modules
        if module.room not in FACES
    }
    wrong: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            wrong.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return wrong


def torchrl(modules: list[Module]) -> list[str]:
    """Imports of torchrl outside the rooms that may know it."""
    return [
        f"{module.name}:{found.line}: imports {found.target}"
        for module in modules
        for found in imports(module)
        if _top(found) == "torchrl" and module.room not in TORCHRL_ROOMS
    ]


def light_envs(modules: list[Module]) -> list[str]:
    """What `dreamer_envs` must do without: torch, TorchRL and the agent."""
    heavy = {"torch", "torchrl", "tensordict", "dreamer_plugin"}
    return [
        f"{module.name}:{found.line}: imports {found.target}"
        for module in modules
        for found in imports(module)
        if module.name.split(".")[0] == "dreamer_envs" and _top(found) in heavy
    ]


def hidden(modules: list[Module]) -> list[str]:
    """Imports inside functions; free for optional packages, the doors and the lazy faces."""
    return [
        f"{module.name}:{found.line}: imports {found.target} inside a function"
        for module in modules
        for found in imports(module)
        if found.in_function
        and _top(found) not in OPTIONAL
        and module.room not in FACES | {"doors"}
        and not module.is_package
    ]


def _own(modules: list[Module]) -> list[tuple[Module, Import, str]]:
    """Imports inside `dreamer_plugin`, each with the room it reaches."""
    known = {module.room for module in modules} | set(FLOORS)
    return [
        (module, found, found.target.split(".")[1])
        for module in modules
        if module.name.split(".")[0] == "dreamer_plugin"
        for found in imports(module)
        if _top(found) == "dreamer_plugin" and found.target.split(".")[1] in known
    ]


def _top(found: Import) -> str:
    return found.target.split(".")[0]


def _owner(target: str, names: set[str]) -> str | None:
    """The module a target belongs to: `a.b` for the name `a.b.c` when only `a.b` is a module."""
    while target and target not in names:
        target = target.rpartition(".")[0]
    return target or None
