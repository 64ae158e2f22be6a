-- One line of JSON out and one in per step of the server, which waits for it. The FIFOs lie in the
-- folder of the world, where a mod may open files: no insecure environment is needed.

local AGENT = "agent"
local SQUARE = 4 -- nodes along a side of what counts as one place in `explore`
local FAR = 6000 -- places lie within so many nodes of the middle of the world
local TRIES = 60 -- places that are looked at before any dry one will do
local SETTLE = 12 -- steps that the client gets to draw a new place
local REACH = 10 -- nodes to the nearest tree of `treechop`
-- Where trees grow: looking there only saves generating what would not do.
local WOODS = {
  coniferous_forest = true, deciduous_forest = true, rainforest = true, taiga = true,
}

local settings = minetest.settings
local task = settings:get("dreamer_task")
local dig_speed = tonumber(settings:get("dreamer_dig_speed"))
local folder = minetest.get_worldpath()
local out, inp
local marks = {}
local counts, seen, earned -- of the episode
local low, high -- corners of where the agent has been in it
local left_low, left_high -- the same of the episode before, until it is forgotten
local ready, settling, seeking, search = true, 0, false, 0

local function begin_episode(pos)
  counts, seen, earned = {treechop = 0, dig = 0, explore = 0}, {}, 0
  low, high = vector.new(pos), vector.new(pos)
end
begin_episode(vector.new(0, 0, 0))

local function count(what)
  counts[what] = counts[what] + 1
  if what == task and ready then
    earned = earned + 1
  end
end

-- The hand digs what it can dig in stock Minetest, so many times faster.
minetest.register_on_mods_loaded(function()
  local hand = table.copy(minetest.registered_items[""].tool_capabilities)
  for _, group in pairs(hand.groupcaps) do
    for level, time in pairs(group.times) do
      group.times[level] = time / dig_speed
    end
  end
  minetest.override_item("", {tool_capabilities = hand})
end)

minetest.register_on_dignode(function(_, node, digger)
  if digger then
    count("dig")
    if minetest.get_item_group(node.name, "tree") > 0 then
      count("treechop")
    end
  end
end)

local function look_around(player)
  local pos = player:get_pos()
  for _, axis in ipairs({"x", "y", "z"}) do
    low[axis] = math.min(low[axis], pos[axis])
    high[axis] = math.max(high[axis], pos[axis])
  end
  local place = math.floor(pos.x / SQUARE) .. "," .. math.floor(pos.z / SQUARE)
  if not seen[place] then
    if next(seen) then -- the first is where the agent was put
      count("explore")
    end
    seen[place] = true
  end
end

-- Both ends of the screen show the number of the step as a colour.
local function colour(mark)
  local red, green = math.floor(mark / 16) % 16 * 16 + 8, mark % 16 * 16 + 8
  return string.format("blank.png^[noalpha^[colorize:#%02x%02x80:255", red, green)
end

local function draw_marks(player)
  for corner = 0, 1 do
    local inward = 4 - 8 * corner
    marks[corner] = player:hud_add({
      hud_elem_type = "image",
      position = {x = corner, y = corner},
      offset = {x = inward, y = inward},
      scale = {x = 8, y = 8},
      alignment = {x = 0, y = 0},
      text = colour(0),
    })
  end
end

minetest.get_server_status = function() return "" end
minetest.send_join_message = function() end

minetest.register_on_prejoinplayer(function(name)
  if name ~= AGENT then
    return "This world is for one agent."
  end
end)

minetest.register_on_joinplayer(function(player)
  player:hud_set_flags({
    chat = false, hotbar = false, healthbar = false, breathbar = false, minimap = false,
  })
  draw_marks(player)
  out = io.open(folder .. "/from_game", "w")
  inp = io.open(folder .. "/to_game", "r")
end)

-- What was generated and changed between two corners is forgotten, so that neither the memory of
-- the server grows nor a later episode finds holes.
local function forget(from, to)
  local margin = vector.new(96, 96, 96)
  minetest.delete_area(vector.subtract(from, margin), vector.add(to, margin))
end

local function arrive(player, pos, random)
  left_low, left_high = low, high
  player:get_inventory():set_list("main", {})
  player:set_look_horizontal(random:next(0, 359) * math.pi / 180)
  player:set_look_vertical(0)
  player:set_pos(pos)
  begin_episode(pos)
  seeking, settling = false, SETTLE
end

local function grows_trees(pos)
  local biome = minetest.get_biome_data(pos)
  return biome and WOODS[minetest.get_biome_name(biome.biome)]
end

-- Looks at places until one fits; each is generated before it is looked at.
local function seek(random, tries, mine)
  local pos
  repeat
    local x, z = random:next(-FAR, FAR), random:next(-FAR, FAR)
    local y = minetest.get_spawn_level(x, z)
    pos = y and vector.new(x, y, z)
  until pos and (task ~= "treechop" or grows_trees(pos))
  local around = vector.new(REACH, REACH, REACH)
  minetest.emerge_area(vector.subtract(pos, around), vector.add(pos, around), function(_, _, left)
    if left > 0 or mine ~= search then
      return
    end
    local player = minetest.get_player_by_name(AGENT)
    local ground = minetest.registered_nodes[minetest.get_node(vector.offset(pos, 0, -1, 0)).name]
    local dry = ground and ground.walkable
    local fits = task ~= "treechop" or minetest.find_node_near(pos, REACH, "group:tree", true)
    if player and dry and (fits or tries >= TRIES) then
      arrive(player, pos, random)
    else
      forget(pos, pos)
      seek(random, tries + 1, mine)
    end
  end)
end

local function inventory(player)
  local items = {}
  for _, stack in ipairs(player:get_inventory():get_list("main")) do
    if not stack:is_empty() then
      items[stack:get_name()] = (items[stack:get_name()] or 0) + stack:get_count()
    end
  end
  return items
end

local function tell(player)
  local pos = player:get_pos()
  out:write(minetest.write_json({
    ready = ready, earned = earned, counts = counts, inventory = inventory(player),
    pos = {pos.x, pos.y, pos.z},
    yaw = player:get_look_horizontal(), pitch = player:get_look_vertical(),
  }) .. "\n")
  out:flush()
  earned = 0
end

local function obey(player, command)
  if command.place then
    ready, seeking, search = false, true, search + 1
    seek(PcgRandom(command.place), 1, search)
  end
  if command.mark then
    for corner = 0, 1 do
      player:hud_change(marks[corner], "text", colour(command.mark))
    end
  end
end

minetest.register_globalstep(function()
  local player = minetest.get_player_by_name(AGENT)
  if not (player and out and inp) then
    return
  end
  if ready then
    look_around(player)
  elseif not seeking then
    settling = settling - 1
    ready = settling <= 0
    if ready then -- by now nobody asks for blocks of the old place any more
      forget(left_low, left_high)
    end
  end
  tell(player)
  local line = inp:read("*l")
  if line then
    obey(player, minetest.parse_json(line))
  else -- nobody is left to play
    out, inp = nil, nil
    minetest.request_shutdown()
  end
end)
