"""What dashboards ask Redis for: read-only scripts that return JSON texts, one a row.

The data source splits a query as a shell does, and Grafana puts variables in first: so no double quote, no backslash
and no dollar in a script. It shows an array of texts as one column, which a transformation makes columns of. Keys:
docs/operations/redis.md.
"""

from typing import Final

from detectors.catalogue import CLASSES

__all__ = [
    "ACTIVE",
    "ALL",
    "CLUSTERS",
    "DETECTORS",
    "NAMES",
    "NODES",
    "NODE_NAMES",
    "NOW",
    "OPEN_ALERTS",
    "REASONS",
    "TIERS",
]

ALL: Final = "*"
"""What a variable is when it selects nothing."""

_HEAD: Final = """
local p = ARGV[1]
local function takes(want, has) return want == '*' or want == (has or '') end
local function verdict(d, n)
  local h = redis.call('HMGET', p .. 'verdict:' .. d .. ':' .. n, 'cluster', 'region', 'tier', 'severity', 'score',
    'threshold', 'ts_ms', 'anomaly_kind', 'anomaly_contributions', 'anomaly_ts_ms')
  if not h[7] then return nil end
  local v = {cluster = h[1], region = h[2], tier = h[3] or '', severity = h[4], score = tonumber(h[5]),
    threshold = tonumber(h[6]), seen = tonumber(h[7]), kind = h[8] or '', reasons = h[9] or '[]',
    last = tonumber(h[10] or '0'), node = n, detector = d}
  v.ratio = v.threshold ~= 0 and v.score / v.threshold or v.score
  v.state = v.severity == '' and 'normal' or v.severity
  return v
end
local function chosen(v)
  return v and takes(ARGV[2], v.cluster) and takes(ARGV[3], v.region) and takes(ARGV[4], v.tier)
end
local function walk(d, most, see)
  local at, go = 0, true
  while go and at < most do
    local names = redis.call('ZREVRANGE', p .. 'worst:' .. d, at, at + 499)
    if #names == 0 then return end
    for _, n in ipairs(names) do
      local v = verdict(d, n)
      if chosen(v) then go = see(v) end
      if not go then return end
    end
    at = at + 500
  end
end
"""

NODES: Final = f"""{_HEAD}
local out, most = {{}}, tonumber(ARGV[6])
walk(ARGV[5], 5000, function(v)
  if v.severity == '' then v.kind = '' end
  v.reasons, v.last, v.severity = nil, nil, nil
  out[#out + 1] = cjson.encode(v)
  return #out < most
end)
return out
"""
"""Worst nodes: prefix, cluster, region, tier, detector, how many."""

NODE_NAMES: Final = f"""{_HEAD}
local out = {{}}
walk(ARGV[5], 5000, function(v) out[#out + 1] = v.node; return #out < 500 end)
return out
"""
"""Names of nodes, the worst first: prefix, cluster, region, tier, detector."""

ACTIVE: Final = f"""{_HEAD}
local found = {{critical = 0, warning = 0, info = 0}}
for level, _ in pairs(found) do
  for _, member in ipairs(redis.call('ZREVRANGE', p .. 'active:' .. level, 0, 4999)) do
    local colon = string.find(member, ':', 1, true)
    if chosen(verdict(string.sub(member, 1, colon - 1), string.sub(member, colon + 1))) then
      found[level] = found[level] + 1
    end
  end
end
return {{cjson.encode(found)}}
"""
"""How many nodes are anomalous now, by severity: prefix, cluster, region, tier."""

OPEN_ALERTS: Final = f"""{_HEAD}
local out = {{}}
for _, name in ipairs(redis.call('ZREVRANGE', p .. 'alerts:open', 0, 199)) do
  local raw = redis.call('GET', p .. 'alert:' .. name)
  if raw then
    local a = cjson.decode(raw)
    local function text(value) return type(value) == 'string' and value or '' end
    local v = verdict(a.detectors[1], a.node_id)
    local tier = v and v.tier or ''
    if takes(ARGV[2], text(a.cluster)) and takes(ARGV[3], text(a.region)) and takes(ARGV[4], tier) then
      local ack = redis.call('HGET', p .. 'alerts:controls', 'acknowledgement:' .. name)
      out[#out + 1] = cjson.encode({{severity = a.severity, summary = a.summary, cluster = text(a.cluster),
        node = a.node_id, kind = text(a.kind), since = a.started_ms, peak = a.peak_score, runbook = a.runbook,
        detector = a.detectors[1], who = ack and cjson.decode(ack).by or ''}})
    end
  end
end
return out
"""
"""Open alerts, the newest first: prefix, cluster, region, tier."""

CLUSTERS: Final = f"""{_HEAD}
local found, names, out = {{}}, {{}}, {{}}
walk(ARGV[5], 5000, function(v)
  if v.cluster ~= '' then
    if not found[v.cluster] then
      found[v.cluster] = {{cluster = v.cluster, worst = v.ratio, anomalous = 0, node = v.node}}
      names[#names + 1] = v.cluster
    end
    if v.severity ~= '' then found[v.cluster].anomalous = found[v.cluster].anomalous + 1 end
  end
  return true
end)
for i = 1, math.min(#names, 15) do out[i] = cjson.encode(found[names[i]]) end
return out
"""
"""Clusters by their worst node: prefix, cluster, region, tier, detector."""

TIERS: Final = f"""{_HEAD}
local found, names, out = {{}}, {{}}, {{}}
walk(ARGV[5], 10000, function(v)
  local tier = v.tier == '' and 'no tier' or v.tier
  if not found[tier] then
    found[tier] = {{tier = tier, normal = 0, info = 0, warning = 0, critical = 0}}
    names[#names + 1] = tier
  end
  found[tier][v.state] = found[tier][v.state] + 1
  return true
end)
table.sort(names)
for i, tier in ipairs(names) do out[i] = cjson.encode(found[tier]) end
return out
"""
"""Nodes by tier and state: prefix, cluster, region, tier, detector."""

NOW: Final = f"""{_HEAD}
local v = verdict(ARGV[5], ARGV[6])
if not v then return {{}} end
local now = redis.call('TIME')
local row = {{state = v.state, ratio = v.ratio, kind = v.kind == '' and 'none' or v.kind, seen = v.seen, tier = v.tier,
  region = v.region, last = v.last}}
return {{cjson.encode(row)}}
"""
"""The newest verdict on a node: prefix, cluster, region, tier, detector, node. The places are not looked at."""

REASONS: Final = f"""{_HEAD}
local v, out = verdict(ARGV[5], ARGV[6]), {{}}
if not v then return out end
for i, each in ipairs(cjson.decode(v.reasons)) do
  local row = {{feature = each.feature, share = each.share}}
  for _, name in ipairs({{'value', 'usual', 'expected_low', 'expected_high'}}) do
    if type(each[name]) == 'number' then row[name] = each[name] end
  end
  out[i] = cjson.encode(row)
end
return out
"""
"""What made the score of a node's newest anomaly: prefix, cluster, region, tier, detector, node."""

NAMES: Final = """
return redis.call('ZRANGE', ARGV[1] .. ARGV[2], 0, 1999)
"""
"""Places: prefix, and `clusters`, `regions` or `tiers`."""

_CLASSES: Final = ", ".join(f"'{name}'" for name in CLASSES)
DETECTORS: Final = f"""
local out = {{}}
for _, name in ipairs({{{_CLASSES}}}) do
  if redis.call('EXISTS', ARGV[1] .. 'worst:' .. name) == 1 then out[#out + 1] = name end
end
return out
"""
"""Detectors that have verdicts: prefix."""
