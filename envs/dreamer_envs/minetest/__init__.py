"""Minetest as a world for agents: its programs, the wire to our mod, its screen and its keys.

    game.py ---- programs.py --> guard.py --> Xvfb, minetestserver, minetest
       |-------- link.py    <-- two FIFOs --> mod/init.lua, in the server
       |-------- screen.py  <-- mapped file - Xvfb
       '-------- hands.py   --> XTEST ------> Xvfb --> minetest

`suites/minetest.py` is the environment around it.
"""
