//! What happens in Redis in one step. Every key of a group is passed, and all have the topic as their hash tag, so that
//! a cluster keeps them together.

use crm_core::port::queue::{Group, Priority, Topic};
use redis::{Script, ScriptInvocation};

/// What every script begins with.
///
/// An entry of a stream is `m` the message, `k` its key or nothing, `a` the attempts that are over and `l` how many of
/// them, the last ones, ended without an answer. Outside the streams, in `held`, the same is packed in a list. `active`
/// has the keys of which a message is on its way; others of the key wait in `waiting`, whose members are the key, a
/// zero and the sequence, so that they lie in order.
const COMMON: &str = r"
local streams = {KEYS[1], KEYS[2], KEYS[3]}
local delayed, held, active, waiting = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local dead, dead_index, sequence = KEYS[8], KEYS[9], KEYS[10]

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function add(rank, message, key, attempts, losses)
  redis.call('XADD', streams[rank], '*', 'm', message, 'k', key, 'a', attempts, 'l', losses)
end

local function hold(rank, message, key, attempts, losses, admitted)
  local number = string.format('%016d', redis.call('INCR', sequence))
  redis.call('HSET', held, number, cmsgpack.pack({rank, message, key, attempts, losses, admitted}))
  return number
end

local function let_go(number)
  local packed = redis.call('HGET', held, number)
  redis.call('HDEL', held, number)
  return packed and cmsgpack.unpack(packed)
end

local function enter(rank, message, key, attempts, losses)
  if key == '' or redis.call('HSETNX', active, key, 1) == 1 then
    add(rank, message, key, attempts, losses)
  else
    redis.call('ZADD', waiting, 0, key .. '\0' .. hold(rank, message, key, attempts, losses, 0))
  end
end

local function free(key)
  if key == '' then return end
  local first = redis.call('ZRANGEBYLEX', waiting, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
  if not first then
    redis.call('HDEL', active, key)
    return
  end
  redis.call('ZREM', waiting, first)
  local message = let_go(string.sub(first, -16))
  if message then add(message[1], message[2], key, message[4], message[5]) else free(key) end
end

-- Also of what is none of ours, which a consumer then buries.
local function fields_of(entry)
  local fields = {m = '', k = '', a = 0, l = 0, r = 2}
  for place = 1, #entry, 2 do fields[entry[place]] = entry[place + 1] end
  for _, name in ipairs({'a', 'l', 'r'}) do fields[name] = tonumber(fields[name]) or 0 end
  return fields
end

local function remove(stream, id)
  redis.call('XACK', stream, 'consumers', id)
  redis.call('XDEL', stream, id)
end

local function bury(rank, fields, attempts, cause, message_id)
  local id = redis.call('XADD', dead, '*', 'm', fields.m, 'k', fields.k, 'r', rank, 'a', attempts, 'c', cause, 't', now())
  redis.call('HSET', dead_index, message_id, id)
  free(fields.k)
end
";

/// ARGV: delay in milliseconds, then for each message its rank, key and text.
const PUBLISH: &str = r"
local delay = tonumber(ARGV[1])
for place = 2, #ARGV, 3 do
  local rank, key, message = tonumber(ARGV[place]), ARGV[place + 1], ARGV[place + 2]
  if delay > 0 then
    redis.call('ZADD', delayed, now() + delay, hold(rank, message, key, 0, 0, 0))
  else
    enter(rank, message, key, 0, 0)
  end
end
return #ARGV
";

/// ARGV: consumer, how many at most, lease in milliseconds (0: look at no leases), the three ranks in the order of this
/// turn. Answers lists of rank, id, deliveries of the entry, attempts, losses, message.
const TAKE: &str = r"
local consumer, limit, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local taken = {}

for _, number in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now(), 'LIMIT', 0, 100)) do
  redis.call('ZREM', delayed, number)
  local message = let_go(number)
  if message then
    if message[6] == 1 then
      add(message[1], message[2], message[3], message[4], message[5])
    else
      enter(message[1], message[2], message[3], message[4], message[5])
    end
  end
end

if lease > 0 then
  for rank = 1, 3 do
    if #taken < limit then
      local cursor = '0-0'
      repeat
        local claimed =
          redis.pcall('XAUTOCLAIM', streams[rank], 'consumers', consumer, lease, cursor, 'COUNT', limit - #taken)
        cursor = not claimed.err and claimed[1] or '0-0'
        for _, entry in ipairs(not claimed.err and claimed[2] or {}) do
          if entry and entry[2] then
            local fields = fields_of(entry[2])
            local count = redis.call('XPENDING', streams[rank], 'consumers', entry[1], entry[1], 1)[1][4]
            taken[#taken + 1] = {rank, entry[1], count, fields.a + count - 1, fields.l + count - 1, fields.m}
          end
        end
      until cursor == '0-0' or #taken >= limit
    end
  end
end

local function read(rank, count)
  local arguments = {'XREADGROUP', 'GROUP', 'consumers', consumer, 'COUNT', count, 'STREAMS', streams[rank], '>'}
  local answer = redis.pcall(unpack(arguments))
  if answer and answer.err then
    redis.call('XGROUP', 'CREATE', streams[rank], 'consumers', '0', 'MKSTREAM')
    answer = redis.call(unpack(arguments))
  end
  for _, entry in ipairs(answer and answer[1][2] or {}) do
    local fields = fields_of(entry[2])
    taken[#taken + 1] = {rank, entry[1], 1, fields.a, fields.l, fields.m}
  end
end

-- The first has a part of a large turn, the others come to theirs too.
local first = tonumber(ARGV[4])
if #taken < limit then read(first, first == 1 and limit - #taken or math.ceil((limit - #taken) / 4)) end
for place = 5, 6 do
  if #taken < limit then read(tonumber(ARGV[place]), limit - #taken) end
end
if #taken < limit and first ~= 1 then read(first, limit - #taken) end
return taken
";

/// ARGV: rank, id, consumer, deliveries of the entry, then what to do: `acknowledge`; `extend`; `again` with a delay in
/// milliseconds, attempts and losses; `bury` with attempts, cause and the message's id. Answers 0 where the entry is
/// not the consumer's.
const SETTLE: &str = r"
local rank, id, consumer = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local stream, what = streams[rank], ARGV[5]
local pending = redis.pcall('XPENDING', stream, 'consumers', id, id, 1)
if pending.err or not pending[1] or pending[1][2] ~= consumer or pending[1][4] ~= tonumber(ARGV[4]) then return 0 end
if what == 'extend' then
  redis.call('XCLAIM', stream, 'consumers', consumer, 0, id, 'JUSTID')
  return 1
end
local entry = redis.call('XRANGE', stream, id, id)[1]
remove(stream, id)
if not entry then return 0 end
local fields = fields_of(entry[2])
if what == 'acknowledge' then
  free(fields.k)
elseif what == 'again' then
  local delay, attempts, losses = tonumber(ARGV[6]), ARGV[7], ARGV[8]
  if delay > 0 then
    redis.call('ZADD', delayed, now() + delay, hold(rank, fields.m, fields.k, attempts, losses, 1))
  else
    add(rank, fields.m, fields.k, attempts, losses)
  end
else
  bury(rank, fields, ARGV[6], ARGV[7], ARGV[8])
end
return 1
";

/// Answers ready, delayed, in hand, dead.
const DEPTH: &str = r"
local ready, in_hand = redis.call('ZCARD', waiting), 0
for _, stream in ipairs(streams) do
  local pending = redis.pcall('XPENDING', stream, 'consumers')
  local count = pending.err and 0 or pending[1]
  ready = ready + redis.call('XLEN', stream) - count
  in_hand = in_hand + count
end
return {ready, redis.call('ZCARD', delayed), in_hand, redis.call('XLEN', dead)}
";

/// ARGV: `replay` or `discard`, the last id to look at, and the message's id or nothing. Looks at up to 100; answers how
/// many letters there were.
const DEAD: &str = r"
local letters = {}
if ARGV[3] ~= '' then
  local id = redis.call('HGET', dead_index, ARGV[3])
  redis.call('HDEL', dead_index, ARGV[3])
  if id then letters = redis.call('XRANGE', dead, id, id) end
else
  letters = redis.call('XRANGE', dead, '-', ARGV[2], 'COUNT', 100)
end
for _, letter in ipairs(letters) do
  redis.call('XDEL', dead, letter[1])
  local fields = fields_of(letter[2])
  if ARGV[1] == 'replay' then enter(math.min(math.max(fields.r, 1), 3), fields.m, fields.k, 0, 0) end
end
if ARGV[3] == '' and redis.call('XLEN', dead) == 0 then redis.call('DEL', dead_index) end
return #letters
";

/// Removes the names of consumers that ended a day ago or earlier and left nothing behind.
const TIDY: &str = r"
for _, stream in ipairs(streams) do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, 'consumers')
  for _, consumer in ipairs(not consumers.err and consumers or {}) do
    local fields = {}
    for place = 1, #consumer, 2 do fields[consumer[place]] = consumer[place + 1] end
    if fields.pending == 0 and fields.idle > 86400000 then
      redis.call('XGROUP', 'DELCONSUMER', stream, 'consumers', fields.name)
    end
  end
end
return 0
";

/// The scripts of a queue.
pub(super) struct Scripts {
    publish: Script,
    take: Script,
    settle: Script,
    depth: Script,
    dead: Script,
    tidy: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |text: &str| Script::new(&format!("{COMMON}{text}"));
        Self {
            publish: script(PUBLISH),
            take: script(TAKE),
            settle: script(SETTLE),
            depth: script(DEPTH),
            dead: script(DEAD),
            tidy: script(TIDY),
        }
    }

    pub(super) fn publish<'a>(&'a self, keys: &Keys) -> ScriptInvocation<'a> {
        keys.of(&self.publish)
    }

    pub(super) fn take<'a>(&'a self, keys: &Keys) -> ScriptInvocation<'a> {
        keys.of(&self.take)
    }

    pub(super) fn settle<'a>(&'a self, keys: &Keys) -> ScriptInvocation<'a> {
        keys.of(&self.settle)
    }

    pub(super) fn depth<'a>(&'a self, keys: &Keys) -> ScriptInvocation<'a> {
        keys.of(&self.depth)
    }

    pub(super) fn dead<'a>(&'a self, keys: &Keys) -> ScriptInvocation<'a> {
        keys.of(&self.dead)
    }

    pub(super) fn tidy<'a>(&'a self, keys: &Keys) -> ScriptInvocation<'a> {
        keys.of(&self.tidy)
    }
}

/// The keys of one group's messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Keys([String; 10]);

impl Keys {
    pub(super) fn new(prefix: &str, group: Group) -> Self {
        let Topic { name: topic, .. } = group.topic();
        Self(
            ["high", "normal", "low", "delayed", "held", "active", "waiting", "dead", "dead-index", "sequence"]
                .map(|part| format!("{{{prefix}:{topic}}}:{}:{part}", group.name())),
        )
    }

    fn of<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in &self.0 {
            invocation.key(key);
        }
        invocation
    }

    pub(super) fn dead(&self) -> &str {
        &self.0[7]
    }
}

/// The place of the priority's stream among the keys, counted from 1.
pub(super) const fn rank(priority: Priority) -> u8 {
    match priority {
        Priority::High => 1,
        Priority::Normal => 2,
        Priority::Low => 3,
    }
}
