"""What `--help` says."""

WHAT, WHERE, HOW = "What to train", "Where and how it runs", "Evaluation"

ABOUT = """Train Dreamer agents: they learn a world model, and behave as they learned in its dreams.

[bold]First steps[/bold]

  dreamer-plugin envs                      what can be learned here
  dreamer-plugin train --env atari/Pong    learn it
  dreamer-plugin evaluate runs/NAME        play with what was learned
  dreamer-plugin report runs/NAME          one page with all that is known of a run
  dreamer-plugin play runs/NAME            watch it
  dreamer-plugin show --env atari/Pong     every setting, and who set it
"""

TRAIN = """Train an agent on an env and leave a run folder.

Choosing an env chooses the settings that were published for it. \
What this machine cannot hold is made smaller, and a table says so. \
Ctrl-C saves and says how to go on.

[bold]Examples[/bold]

  dreamer-plugin train --env atari/Pong --steps 2000
  dreamer-plugin train --env dmc/walker-walk env.obs=pixels --size 12m
  dreamer-plugin train --env gym/CartPole-v1 --eval-every 5000 optim.lr=1e-4
  dreamer-plugin train --config my.yaml --logdir runs/mine
  dreamer-plugin train --resume runs/mine --steps 200000
"""

EVALUATE = """Play episodes with a trained agent; report returns and the quality of its world model.

Of a folder of runs the newest is taken. docs/evaluate.md says what the numbers mean.

[bold]Examples[/bold]

  dreamer-plugin evaluate runs/mine
  dreamer-plugin evaluate runs/mine --which 20000 --episodes 100 --json
  dreamer-plugin evaluate runs/mine --both --save-dir results --video
  dreamer-plugin evaluate --checkpoint runs/mine/checkpoints/best --no-quality
"""

EXPORT_AGENT = """Write the agent of a run to one file, for programs with or without this package.

onnx is one decision for any ONNX runtime: (obs, state, is_first, noise) -> (action, state). \
safetensors holds all weights, settings and spaces: Dreamer.load reads it. docs/export.md says more.

[bold]Examples[/bold]

  dreamer-plugin export runs/mine mine.onnx
  dreamer-plugin export runs/mine --format onnx --deterministic
  dreamer-plugin export runs/mine mine.safetensors --dtype bfloat16
"""

IMPORT = """Make a run folder of weights from the official JAX code.

FILE is an npz of float32 arrays by the names of that code, such as dyn/dyngru/kernel; \
names may begin with param/. Its names and shapes must be exactly those of the agent, \
so give the env, size and settings that the weights were trained with. \
evaluate, train --resume and Dreamer.load work on the folder. \
The optimiser and the replay begin anew.

[bold]Examples[/bold]

  dreamer-plugin import-weights pong.npz --env atari/Pong --size 200m
  dreamer-plugin import-weights w.npz --env dmc/walker-walk --size 12m --logdir runs/walker
  dreamer-plugin train --resume runs/walker --steps 100000
"""

EXPORT = """Write the weights of a run as npz, by official names.

They are those that import-weights reads, float32, in the layouts of the official JAX code.

[bold]Examples[/bold]

  dreamer-plugin export-weights runs/mine mine.npz
  dreamer-plugin export-weights runs/mine mine.npz --which latest
"""

SHOW = """Print the configuration of a run, or the one that train would use, as YAML.

[bold]Examples[/bold]

  dreamer-plugin show --env atari/Pong
  dreamer-plugin show --env atari/Pong --size 12m --why model.deter
  dreamer-plugin show runs/mine --why replay.capacity
"""

ENVS = """List the suites of envs, or the tasks and options of one, and what is installed.

[bold]Examples[/bold]

  dreamer-plugin envs
  dreamer-plugin envs atari --json
"""

CHECK_ENV = """Step an env at random and say what an agent would trip over, and how to repair it.

Ours looks at types, ranges, ends, rewards, seeds and speed; then come Gymnasium's, SB3's and \
TorchRL's own checkers. Options of the env follow as key=value. The command ends with 1 if \
something has to be repaired.

[bold]Examples[/bold]

  dreamer-plugin check-env atari/Pong
  dreamer-plugin check-env dmc/walker-walk obs=pixels --steps 100 --picture frames.png
  dreamer-plugin check-env metaworld/reach python=venvs/metaworld
"""

BENCH = """Measure one update and where its time goes, decisions, replay, training on three envs.

Workloads are proprio or vision, for what is seen, and a size: proprio1m, vision12m, vision200m. \
docs/performance.md says what the numbers mean. An env whose package is missing is skipped.

[bold]Examples[/bold]

  dreamer-plugin bench
  dreamer-plugin bench --workload vision12m --only update --precision float32 --json
  dreamer-plugin bench --only update compile=on
"""
