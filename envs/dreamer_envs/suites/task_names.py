"""Names of the tasks, as data, so that listing and spell-checking need no package installed."""

from __future__ import annotations

# Games that ale-py 0.12 registers as `ALE/<Game>-v5`; a test compares with the installed package.
ATARI = tuple(
    """
    Adventure AirRaid Alien Amidar Assault Asterix Asteroids Atlantis Atlantis2 Backgammon
    BankHeist BasicMath BattleZone BeamRider Berzerk Blackjack Bowling Boxing Breakout Carnival
    Casino Centipede ChopperCommand CrazyClimber Crossbow Darkchambers Defender DemonAttack
    DonkeyKong DoubleDunk Earthworld ElevatorAction Enduro Entombed Et FishingDerby FlagCapture
    Freeway Frogger Frostbite Galaxian Gopher Gravitar Hangman HauntedHouse Hero HumanCannonball
    IceHockey Jamesbond JourneyEscape Kaboom Kangaroo KeystoneKapers KingKong Klax Koolaid Krull
    KungFuMaster LaserGates LostLuggage MarioBros MiniatureGolf MontezumaRevenge MrDo MsPacman
    NameThisGame Othello Pacman Phoenix Pitfall Pitfall2 Pong Pooyan PrivateEye Qbert Riverraid
    RoadRunner Robotank Seaquest SirLancelot Skiing Solaris SpaceInvaders SpaceWar StarGunner
    Superman Surround Tennis Tetris TicTacToe3D TimePilot Trondead Turmoil Tutankham UpNDown
    Venture VideoCheckers VideoChess VideoCube VideoPinball WizardOfWor WordZapper YarsRevenge
    Zaxxon
    """.split()
)

# `dm_control.suite.ALL_TASKS` of dm-control 1.0.50, as `<domain>-<task>`.
DMC = tuple(
    """
    acrobot-swingup acrobot-swingup_sparse ball_in_cup-catch cartpole-balance
    cartpole-balance_sparse cartpole-swingup cartpole-swingup_sparse cartpole-three_poles
    cartpole-two_poles cheetah-run dog-fetch dog-run dog-stand dog-trot dog-walk finger-spin
    finger-turn_easy finger-turn_hard fish-swim fish-upright hopper-hop hopper-stand
    humanoid-run humanoid-run_pure_state humanoid-stand humanoid-walk humanoid_CMU-run
    humanoid_CMU-stand humanoid_CMU-walk lqr-lqr_2_1 lqr-lqr_6_2 manipulator-bring_ball
    manipulator-bring_peg manipulator-insert_ball manipulator-insert_peg pendulum-swingup
    point_mass-easy point_mass-hard quadruped-escape quadruped-fetch quadruped-run
    quadruped-walk reacher-easy reacher-hard stacker-stack_2 stacker-stack_4 swimmer-swimmer15
    swimmer-swimmer6 walker-run walker-stand walker-walk
    """.split()
)

CRAFTER = ("noreward", "reward")

PINPAD = ("three", "four", "five", "six", "seven", "eight")

TOY = ("catch", "mixed", "reach", "recall")

# Ids of minigrid 3.2 without `MiniGrid-`, below those without `BabyAI-`; tests compare them too.
# Without `WFC-…`: the pictures that these are made from are not in its wheel.
MINIGRID = tuple(
    """
    BlockedUnlockPickup-v0 LavaCrossingS9N1-v0 LavaCrossingS9N2-v0 LavaCrossingS9N3-v0
    LavaCrossingS11N5-v0 SimpleCrossingS9N1-v0 SimpleCrossingS9N2-v0 SimpleCrossingS9N3-v0
    SimpleCrossingS11N5-v0 DistShift1-v0 DistShift2-v0 DoorKey-5x5-v0 DoorKey-6x6-v0
    DoorKey-8x8-v0 DoorKey-16x16-v0 Dynamic-Obstacles-5x5-v0 Dynamic-Obstacles-Random-5x5-v0
    Dynamic-Obstacles-6x6-v0 Dynamic-Obstacles-Random-6x6-v0 Dynamic-Obstacles-8x8-v0
    Dynamic-Obstacles-16x16-v0 Empty-5x5-v0 Empty-Random-5x5-v0 Empty-6x6-v0
    Empty-Random-6x6-v0 Empty-8x8-v0 Empty-16x16-v0 Fetch-5x5-N2-v0 Fetch-6x6-N2-v0
    Fetch-8x8-N3-v0 FourRooms-v0 GoToDoor-5x5-v0 GoToDoor-6x6-v0 GoToDoor-8x8-v0
    GoToObject-6x6-N2-v0 GoToObject-8x8-N2-v0 KeyCorridorS3R1-v0 KeyCorridorS3R2-v0
    KeyCorridorS3R3-v0 KeyCorridorS4R3-v0 KeyCorridorS5R3-v0 KeyCorridorS6R3-v0 LavaGapS5-v0
    LavaGapS6-v0 LavaGapS7-v0 LockedRoom-v0 MemoryS17Random-v0 MemoryS13Random-v0 MemoryS13-v0
    MemoryS11-v0 MemoryS9-v0 MemoryS7-v0 MultiRoom-N2-S4-v0 MultiRoom-N4-S5-v0
    MultiRoom-N4-S5-v1 MultiRoom-N6-v0 ObstructedMaze-1Dl-v0 ObstructedMaze-1Dlh-v0
    ObstructedMaze-1Dlhb-v0 ObstructedMaze-2Dl-v0 ObstructedMaze-2Dlh-v0
    ObstructedMaze-2Dlhb-v0 ObstructedMaze-1Q-v0 ObstructedMaze-2Q-v0 ObstructedMaze-Full-v0
    ObstructedMaze-2Dlhb-v1 ObstructedMaze-1Q-v1 ObstructedMaze-2Q-v1 ObstructedMaze-Full-v1
    Playground-v0 PutNear-6x6-N2-v0 PutNear-8x8-N3-v0 RedBlueDoors-6x6-v0 RedBlueDoors-8x8-v0
    Unlock-v0 UnlockPickup-v0
    """.split()
)

# BabyAI, as above.
BABYAI = tuple(
    """
    GoToRedBallGrey-v0 GoToRedBall-v0 GoToRedBallNoDists-v0 GoToObj-v0 GoToObjS4-v0
    GoToObjS6-v1 GoToLocal-v0 GoToLocalS5N2-v0 GoToLocalS6N2-v0 GoToLocalS6N3-v0
    GoToLocalS6N4-v0 GoToLocalS7N4-v0 GoToLocalS7N5-v0 GoToLocalS8N2-v0 GoToLocalS8N3-v0
    GoToLocalS8N4-v0 GoToLocalS8N5-v0 GoToLocalS8N6-v0 GoToLocalS8N7-v0 GoTo-v0 GoToOpen-v0
    GoToObjMaze-v0 GoToObjMazeOpen-v0 GoToObjMazeS4R2-v0 GoToObjMazeS4-v0 GoToObjMazeS5-v0
    GoToObjMazeS6-v0 GoToObjMazeS7-v0 GoToImpUnlock-v0 GoToSeq-v0 GoToSeqS5R2-v0
    GoToRedBlueBall-v0 GoToDoor-v0 GoToObjDoor-v0 Open-v0 OpenRedDoor-v0 OpenDoor-v0
    OpenDoorDebug-v0 OpenDoorColor-v0 OpenDoorLoc-v0 OpenTwoDoors-v0 OpenRedBlueDoors-v0
    OpenRedBlueDoorsDebug-v0 OpenDoorsOrderN2-v0 OpenDoorsOrderN4-v0 OpenDoorsOrderN2Debug-v0
    OpenDoorsOrderN4Debug-v0 Pickup-v0 UnblockPickup-v0 PickupLoc-v0 PickupDist-v0
    PickupDistDebug-v0 PickupAbove-v0 PutNextLocal-v0 PutNextLocalS5N3-v0 PutNextLocalS6N4-v0
    PutNextS4N1-v0 PutNextS5N2-v0 PutNextS5N1-v0 PutNextS6N3-v0 PutNextS7N4-v0
    PutNextS5N2Carrying-v0 PutNextS6N3Carrying-v0 PutNextS7N4Carrying-v0 Unlock-v0
    UnlockLocal-v0 UnlockLocalDist-v0 KeyInBox-v0 UnlockPickup-v0 UnlockPickupDist-v0
    BlockedUnlockPickup-v0 UnlockToUnlock-v0 ActionObjDoor-v0 FindObjS5-v0 FindObjS6-v0
    FindObjS7-v0 KeyCorridor-v0 KeyCorridorS3R1-v0 KeyCorridorS3R2-v0 KeyCorridorS3R3-v0
    KeyCorridorS4R3-v0 KeyCorridorS5R3-v0 KeyCorridorS6R3-v0 OneRoomS8-v0 OneRoomS12-v0
    OneRoomS16-v0 OneRoomS20-v0 MoveTwoAcrossS5N2-v0 MoveTwoAcrossS8N9-v0 Synth-v0
    SynthS5R2-v0 SynthLoc-v0 SynthSeq-v0 MiniBossLevel-v0 BossLevel-v0 BossLevelNoUnlock-v0
    """.split()
)

# Experiments of bsuite 0.3.6 and how many settings each has.
BSUITE = {
    "bandit": 20,
    "bandit_noise": 20,
    "bandit_scale": 20,
    "cartpole": 20,
    "cartpole_noise": 20,
    "cartpole_scale": 20,
    "cartpole_swingup": 20,
    "catch": 20,
    "catch_noise": 20,
    "catch_scale": 20,
    "deep_sea": 21,
    "deep_sea_stochastic": 21,
    "discounting_chain": 20,
    "memory_len": 23,
    "memory_size": 17,
    "mnist": 20,
    "mnist_noise": 20,
    "mnist_scale": 20,
    "mountain_car": 20,
    "mountain_car_noise": 20,
    "mountain_car_scale": 20,
    "umbrella_distract": 23,
    "umbrella_length": 23,
}

# `ENV_NAMES` of procgen-mirror 0.10.7.
PROCGEN = tuple(
    """
    bigfish bossfight caveflyer chaser climber coinrun dodgeball fruitbot heist jumper leaper
    maze miner ninja plunder starpilot
    """.split()
)

MEMORYMAZE = ("9x9", "11x11", "13x13", "15x15")

# `ALL_V3_ENVIRONMENTS` of metaworld 3.1 without `-v3`.
METAWORLD = tuple(
    """
    assembly basketball bin-picking box-close button-press-topdown button-press-topdown-wall
    button-press button-press-wall coffee-button coffee-pull coffee-push dial-turn disassemble
    door-close door-lock door-open door-unlock drawer-close drawer-open faucet-close
    faucet-open hammer hand-insert handle-press-side handle-press handle-pull-side handle-pull
    lever-pull peg-insert-side peg-unplug-side pick-out-of-hole pick-place pick-place-wall
    plate-slide-back-side plate-slide-back plate-slide-side plate-slide push-back push
    push-wall reach reach-wall shelf-place soccer stick-pull stick-push sweep-into sweep
    window-close window-open
    """.split()
)

# `ALL_ENVIRONMENTS` of robosuite 1.5.2.
ROBOSUITE = tuple(
    """
    Door Lift NutAssembly NutAssemblyRound NutAssemblySingle NutAssemblySquare PickPlace
    PickPlaceBread PickPlaceCan PickPlaceCereal PickPlaceMilk PickPlaceSingle Stack ToolHang
    TwoArmHandover TwoArmLift TwoArmPegInHole TwoArmTransport Wipe
    """.split()
)

# Registered envs of brax 0.14.2 without its test env `fast`.
BRAX = tuple(
    """
    ant halfcheetah hopper humanoid humanoidstandup inverted_double_pendulum inverted_pendulum
    pusher reacher swimmer walker2d
    """.split()
)

MINETEST = ("dig", "explore", "treechop")

CRAFTAX = ("classic-pixels", "classic-symbolic", "pixels", "symbolic")

# Tasks of nle 1.3, whose ids are `NetHack<task>-v0`.
NLE = tuple(
    """
    Score Staircase StaircasePet Oracle Gold Eat Scout Challenge
    """.split()
)

# `ALL_ENVS` of playground 0.2.
PLAYGROUND = tuple(
    """
    AcrobotSwingup AcrobotSwingupSparse BallInCup CartpoleBalance CartpoleBalanceSparse
    CartpoleSwingup CartpoleSwingupSparse CheetahRun FingerSpin FingerTurnEasy FingerTurnHard
    FishSwim HopperHop HopperStand HumanoidStand HumanoidWalk HumanoidRun PendulumSwingup
    PointMass ReacherEasy ReacherHard SwimmerSwimmer6 WalkerRun WalkerStand WalkerWalk
    ApolloJoystickFlatTerrain BarkourJoystick BerkeleyHumanoidJoystickFlatTerrain
    BerkeleyHumanoidJoystickRoughTerrain G1JoystickFlatTerrain G1JoystickRoughTerrain
    Go1JoystickFlatTerrain Go1JoystickRoughTerrain Go1Getup Go1Handstand Go1Footstand
    H1InplaceGaitTracking H1JoystickGaitTracking Op3Joystick SpotFlatTerrainJoystick SpotGetup
    SpotJoystickGaitTracking T1JoystickFlatTerrain T1JoystickRoughTerrain AlohaHandOver
    AlohaSinglePegInsertion PandaPickCube PandaPickCubeOrientation PandaPickCubeCartesian
    PandaOpenCabinet PandaRobotiqPushCube LeapCubeReorient LeapCubeRotateZAxis
    AeroCubeRotateZAxis
    """.split()
)

# Walkers and worlds; `suites/loconav.py` says what they are.
LOCONAV = tuple(
    """
    ant_maze_s ant_maze_m ant_maze_l ant_maze_xl ant_maze_xxl cmu_run_walls cmu_run_gaps
    cmu_go_to_target cmu_maze_forage cmu_heterogeneous_forage rodent_escape_bowl
    rodent_run_gaps rodent_maze_forage rodent_two_touch
    """.split()
)

# DMLab-30, without the ending `_train` or `_test` that two of them have.
DMLAB = tuple(
    """
    rooms_collect_good_objects rooms_exploit_deferred_effects rooms_select_nonmatching_object
    rooms_watermaze rooms_keys_doors_puzzle language_select_described_object
    language_select_located_object language_execute_random_task
    language_answer_quantitative_question lasertag_one_opponent_small
    lasertag_three_opponents_small lasertag_one_opponent_large lasertag_three_opponents_large
    natlab_fixed_large_map natlab_varying_map_regrowth natlab_varying_map_randomized
    skymaze_irreversible_path_hard skymaze_irreversible_path_varied
    psychlab_arbitrary_visuomotor_mapping psychlab_continuous_recognition
    psychlab_sequential_comparison psychlab_visual_search explore_object_locations_small
    explore_object_locations_large explore_obstructed_goals_small explore_obstructed_goals_large
    explore_goal_locations_small explore_goal_locations_large explore_object_rewards_few
    explore_object_rewards_many
    """.split()
)

# The classic tasks of Isaac Lab 2; any other of its ids works too.
ISAAC = tuple(
    """
    Isaac-Ant-v0 Isaac-Cartpole-v0 Isaac-Humanoid-v0 Isaac-Ant-Direct-v0 Isaac-Cartpole-Direct-v0
    Isaac-Cartpole-RGB-v0 Isaac-Humanoid-Direct-v0 Isaac-Reach-Franka-v0 Isaac-Lift-Cube-Franka-v0
    Isaac-Open-Drawer-Franka-v0 Isaac-Velocity-Flat-Anymal-C-v0 Isaac-Velocity-Rough-Anymal-C-v0
    """.split()
)
