"""The scripts that write the view in Redis; keys: docs/operations/redis.md.

Redis runs a script alone, so two workers cannot interleave: what is compared is still true when it is written.
"""

from typing import Final

__all__ = ["DROP_LAPSED", "RECORD_ALERT", "WRITE_VERDICTS"]

# One call writes the newest verdicts of many nodes by one detector. Per node: skip if what is stored is newer, else
# store, keep the sorted sets and the node's newest steps, and note when the node lapses. A row is node, time, score,
# cluster, region, tier; then, where there is more to tell, the step's values, severity, anomaly, and what is told
# (``verdicts.WHOLE``). A stream takes no entry that is older than its newest: it may outlive the hash, and has it then.
WRITE_VERDICTS: Final = """
local prefix, batch, ttl_ms = ARGV[1], cjson.decode(ARGV[2]), tonumber(ARGV[3])
local steps, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local stream, detector, threshold, version, fields = unpack(batch[1])
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local own = {score = true, threshold = true, severity = true}
local levels = {[''] = 0, info = 1, warning = 2, critical = 3}
local places = {clusters = {}, regions = {}, tiers = {}}
local all = redis.call('ZCARD', prefix .. 'worst:' .. detector) <= most
local written = 0

local function keep(member, ts_ms, score, severity, values)
  local key = prefix .. 'history:' .. member
  local step = {'XADD', key, 'MAXLEN', steps, string.format('%.0f-0', ts_ms),
    'score', string.format('%.6g', score), 'threshold', string.format('%.6g', threshold), 'severity', levels[severity]}
  for i, value in ipairs(values) do
    step[#step + 1] = own[fields[i]] and fields[i] .. '_' or fields[i]
    step[#step + 1] = string.format('%.6g', value)
  end
  local added = redis.pcall(unpack(step))
  if type(added) == 'table' and added.err and not string.find(added.err, 'equal or smaller', 1, true) then
    error(added.err)
  end
  redis.call('PEXPIRE', key, ttl_ms)
end

for _, row in ipairs(batch[2]) do
  local node, ts_ms, score = row[1], row[2], row[3]
  local values, severity, anomaly, told = row[7], row[8] or '', row[9], row[10] or 0
  local member = detector .. ':' .. node
  local key = prefix .. 'verdict:' .. member
  local old = redis.call('HMGET', key, 'ts_ms', 'severity', 'anomaly_ts_ms')
  local old_ts, old_severity = tonumber(old[1] or '-1'), old[2] or ''
  if told ~= 1 or old_severity ~= '' then
    if anomaly and tonumber(old[3] or '-1') <= anomaly.ts_ms then
      redis.call('HSET', key, 'anomaly_ts_ms', anomaly.ts_ms, 'anomaly_id', anomaly.id,
        'anomaly_score', anomaly.score, 'anomaly_severity', anomaly.severity,
        'anomaly_kind', anomaly.kind, 'anomaly_contributions', anomaly.contributions)
    end
    if told ~= 2 and old_ts <= ts_ms then
      redis.call('HSET', key, 'ts_ms', ts_ms, 'score', score, 'threshold', threshold, 'severity', severity,
        'stream', stream, 'model_version', version, 'cluster', row[4], 'region', row[5], 'tier', row[6])
      places.clusters[row[4]], places.regions[row[5]], places.tiers[row[6]] = true, true, true
      if old_severity ~= '' and old_severity ~= severity then
        redis.call('ZREM', prefix .. 'active:' .. old_severity, member)
      end
      if severity ~= '' then
        redis.call('ZADD', prefix .. 'active:' .. severity, ts_ms, member)
      end
      local ratio = threshold ~= 0 and score / threshold or score
      redis.call('ZADD', prefix .. 'worst:' .. detector, math.max(-1e300, math.min(1e300, ratio)), node)
      if values and steps > 0 and old_ts < ts_ms and (all or severity ~= '') then
        keep(member, ts_ms, score, severity, values)
      end
      written = written + 1
    end
    redis.call('PEXPIRE', key, ttl_ms)
    redis.call('ZADD', prefix .. 'expiry', now_ms + ttl_ms, member)
  end
end
for set, names in pairs(places) do
  for name in pairs(names) do
    if name ~= '' then redis.call('ZADD', prefix .. set, now_ms, name) end
  end
end
redis.call('ZADD', prefix .. 'names', now_ms + ttl_ms, 'worst:' .. detector)
return written
"""

# Nodes that fell silent leave the sorted sets when their hash has lapsed (members of a set have no time to live).
DROP_LAPSED: Final = """
local prefix, most, ttl_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local lapsed = redis.call('ZRANGEBYSCORE', prefix .. 'expiry', '-inf', now_ms, 'LIMIT', 0, most)
for _, member in ipairs(lapsed) do
  local colon = string.find(member, ':', 1, true)
  redis.call('ZREM', prefix .. 'worst:' .. string.sub(member, 1, colon - 1), string.sub(member, colon + 1))
  for _, severity in ipairs({'info', 'warning', 'critical'}) do
    redis.call('ZREM', prefix .. 'active:' .. severity, member)
  end
  redis.call('ZREM', prefix .. 'expiry', member)
end
redis.call('ZREMRANGEBYSCORE', prefix .. 'names', '-inf', now_ms)
for _, set in ipairs({'clusters', 'regions', 'tiers'}) do
  redis.call('ZREMRANGEBYSCORE', prefix .. set, '-inf', now_ms - ttl_ms)
end
return #lapsed
"""

# One call keeps the newest state of an alert among the newest alerts of its scope, by event time of the change. An
# entry of a stream cannot be changed: the alert's earlier one goes. A state that is there, or older, is left out.
RECORD_ALERT: Final = """
local key, at, fingerprint, most, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 8)
for _, entry in ipairs(newest) do
  local id, fields = entry[1], entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == 'fingerprint' and fields[i + 1] == fingerprint then
      if tonumber(string.match(id, '^%d+')) >= tonumber(at) then return 0 end
      redis.call('XDEL', key, id)
    end
  end
end
local added = redis.pcall('XADD', key, 'MAXLEN', most, at .. '-0', 'fingerprint', fingerprint, unpack(ARGV, 6))
if type(added) == 'table' and added.err then
  if not string.find(added.err, 'equal or smaller', 1, true) then return added end
  return 0
end
redis.call('PEXPIRE', key, ttl_ms)
return 1
"""
