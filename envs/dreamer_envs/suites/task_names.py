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
