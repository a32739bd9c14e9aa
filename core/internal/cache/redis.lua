-- What the core asks of Redis, each in one step. A module's values are strings under KEYS[1], which is the prefix of all of them
-- and the key. Beside them it has, so that its quota can be kept:
--   KEYS[2] a hash: what each of its keys counts, and their sum under the empty name, which no key has
--   KEYS[3] a sorted set: when each was last used, in microseconds
--   KEYS[4] a sorted set: when each ends, in milliseconds
-- ARGV: the operation, the key, and what the operation wants.
local at, sizes, used, ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local operation, key = ARGV[1], ARGV[2]
local prefix = string.sub(at, 1, #at - #key)
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local millis = math.floor(micros / 1000)

-- forget takes a key out of the books.
local function forget(name)
	local size = redis.call('HGET', sizes, name)
	if size then
		redis.call('HDEL', sizes, name)
		redis.call('HINCRBY', sizes, '', -size)
	end
	redis.call('ZREM', used, name)
	redis.call('ZREM', ends, name)
end

local function remove(name)
	redis.call('UNLINK', prefix .. name)
	forget(name)
end

local function total() return tonumber(redis.call('HGET', sizes, '') or 0) end

-- room removes what has ended, and then what was not used for longest, until need more bytes fit into the quota. It is bounded,
-- as nobody else is served meanwhile: a quota that has become much smaller is kept after some more writes.
local function room(need, quota)
	for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', millis, 'LIMIT', 0, 1000)) do
		remove(name)
	end
	for _ = 1, 10000 do
		if total() + need <= quota then return end
		local oldest = redis.call('ZRANGE', used, 0, 0)[1]
		if not oldest then -- the server has dropped a book: begin anew
			for _, name in ipairs(redis.call('HKEYS', sizes)) do
				if name ~= '' then redis.call('UNLINK', prefix .. name) end
			end
			redis.call('DEL', sizes, ends)
			return
		end
		remove(oldest)
	end
end

-- enter puts a value into the books; ttl is in milliseconds, nil leaves it. Books last longer than any value.
local function enter(size, ttl, keep)
	redis.call('HSET', sizes, key, size)
	redis.call('HINCRBY', sizes, '', size)
	redis.call('ZADD', used, micros, key)
	redis.call('ZADD', ends, millis + ttl, key)
	for _, book in ipairs({sizes, used, ends}) do redis.call('PEXPIRE', book, keep) end
end

-- put replaces a value, as its first change: a server that has no memory left refuses that, and nothing is half done. What was
-- there is out of the books before room is made, so that the value is not pushed out for itself.
local function put(value, ttl, quota, overhead, keep)
	local size = #key + #value + overhead
	redis.call('SET', at, value, 'PX', ttl)
	forget(key)
	room(size, quota)
	enter(size, ttl, keep)
end

if operation == 'get' then
	local value = redis.call('GET', at)
	if value then redis.call('ZADD', used, 'XX', micros, key) end
	return value
end

if operation == 'delete' then
	remove(key)
	return 1
end

local ttl, quota, overhead, keep = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

if operation == 'set' then
	put(ARGV[7], ttl, quota, overhead, keep)
	return 1
end

if operation == 'increment' then
	local left = redis.call('PTTL', at)
	if left > 0 then ttl = left end
	local done = redis.pcall('INCRBY', at, ARGV[7])
	if type(done) == 'table' and done.err then
		if string.find(done.err, 'overflow', 1, true) then return 'overflow' end
		if string.find(done.err, 'not an integer', 1, true) then return 'not a number' end
		if string.find(done.err, 'WRONGTYPE', 1, true) then return 'not a number' end
		return done
	end
	local sum = redis.call('GET', at) -- as text: numbers in here have 53 bits
	put(sum, ttl, quota, overhead, keep)
	return sum
end

if operation == 'exchange' then -- ARGV[7]: '1' if ARGV[8] must be there; ARGV[9]: '1' if ARGV[10] takes its place
	local value = redis.call('GET', at)
	if ARGV[7] == '1' then
		if value ~= ARGV[8] then return 0 end
	elseif value then
		return 0
	end
	if ARGV[9] == '1' then
		put(ARGV[10], ttl, quota, overhead, keep)
	else
		remove(key)
	end
	return 1
end

return redis.error_reply('unknown operation')
