"""A film of an agent that sees images: real | reconstructed | dreamed.

python examples/film.py runs/catch film.gif --episodes 6 --context 2
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import choose, evaluate, load_agent
from dreamer_plugin.run.foresight import Filtered, foresee, observe
from dreamer_plugin.run.recording import Recorder
from dreamer_plugin.world.model import WorldModel

TITLES = ("real", "reconstructed", "dreamed")
SIDE, GAP, TITLE = 192, 8, 24  # pixels: of a panel, between two, above them
PAPER, INK, NOT_YET = "white", "#222222", 0.85


def panels(world: WorldModel, seen: Filtered, context: int, generator: torch.Generator) -> Tensor:
    """The three images of each frame.

    Args:
        world: of the agent. seen: one episode. context: frames that the dream has seen.
        generator: of the dream's draws.

    Returns:
        `[T, 3, H, W, C]` in 0..1; the third is grey before the dream has begun.

    Raises:
        UsageError: the agent sees no image.
    """
    start = seen.last.new_tensor([min(context, len(seen.last)) - 1])
    steps = list(foresee(world, seen, start, len(seen.last), generator))
    deter, stoch = (torch.cat(parts) for parts in list(zip(*steps, strict=True))[2:])
    with torch.no_grad():
        kept = world.decoder(seen.deter, world.rssm.flat(seen.stoch))
        dreamed = world.decoder(deter, world.rssm.flat(stoch))
    names = [name for name, output in kept.items() if isinstance(output, ImageOutput)]
    if not names:
        raise UsageError(f"This agent sees no image, only {sorted(kept)}.")
    real = seen.records["obs", names[0]].float() / 255
    dream = torch.full_like(real, NOT_YET)
    dream[-len(deter) :] = dreamed[names[0]].pred().clamp(0, 1)
    return torch.stack([real, kept[names[0]].pred().clamp(0, 1), dream], 1)


def drawn(frames: Tensor) -> Iterator[Image.Image]:
    """Panels `[T, 3, H, W, C]` side by side on paper, under their titles."""
    font = ImageFont.load_default(14)
    for frame in (255 * frames).round().to(torch.uint8).cpu().numpy():
        page = Image.new("RGB", (3 * SIDE + 4 * GAP, TITLE + SIDE + GAP), PAPER)
        pen = ImageDraw.Draw(page)
        for place, (title, panel) in enumerate(zip(TITLES, frame, strict=True)):
            left = GAP + place * (SIDE + GAP)
            pen.text((left, 4), title, INK, font)
            picture = Image.fromarray(panel).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            page.paste(picture, (left, TITLE))
        yield page.quantize(64)


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--episodes", type=int, default=6)
    parser.add_argument("--context", type=int, default=5, help="frames that a dream has seen")
    parser.add_argument("--frames", type=int, default=100, help="of an episode, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    chosen = choose(args.run)
    agent, _ = load_agent(chosen.cfg, chosen.path, "cpu")
    recorder = Recorder(args.frames, film=args.frames * args.episodes)
    modes = chosen.cfg.behavior.eval_mode
    evaluate(agent, source_of(chosen.cfg), args.episodes, args.seed, modes, records=recorder)
    generator = torch.Generator().manual_seed(args.seed)
    pages = []
    for episode in recorder.episodes()[: args.episodes]:
        seen = observe(agent.world, [episode[: args.frames]], generator)
        pages += drawn(panels(agent.world, seen, args.context, generator))
    pages[0].save(args.file, save_all=True, append_images=pages[1:], duration=200, loop=0)
    print(f"{len(pages)} frames, {args.file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
