-- As append.lua, or append_calls.lua, which is the function append() here. ARGV: as there, then the agent's position
-- behind the frames. It is kept with the append's number (further fields of append.lua): the next append that brings none
-- makes it void at no cost.
position = table.remove(ARGV)
return append()
